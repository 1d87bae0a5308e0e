"""Promotion looks at selection scores alone, and SFT keeps its place on a tie."""

from services.evaluation.model import CandidateScore, PromotionCandidate
from services.evaluation.reports.build import build_report
from services.evaluation.scoring.arms import index_arms
from services.evaluation.scoring.promotion import choose_promoted, selection_scores
from shared.contracts.records import Verdict
from tests.unit.evaluation.sample import judged, make_input


def score(name, correct, questions=60, eligible=True):
    accuracy = correct / questions if questions else None
    return CandidateScore(
        arm_id=name, model=f"m-{name}", eligible=eligible, correct=correct, questions=questions, accuracy=accuracy
    )


def test_dpo_is_promoted_only_above_sft():
    better = choose_promoted([score("sft", 40), score("dpo", 41)], "sft")
    assert (better.arm_id, better.model) == ("dpo", "m-dpo")
    assert "68.3 % (41/60) against sft 66.7 % (40/60)" in better.reason
    assert choose_promoted([score("sft", 40), score("dpo", 39)], "sft").arm_id == "sft"


def test_a_tie_keeps_sft_in_any_order():
    for scores in ([score("sft", 40), score("dpo", 40)], [score("dpo", 40), score("sft", 40)]):
        tied = choose_promoted(scores, "sft")
        assert tied.arm_id == "sft"
        assert "a tie keeps it" in tied.reason


def test_rates_decide_not_counts():
    assert choose_promoted([score("sft", 40, 60), score("dpo", 20, 60 // 2)], "sft").arm_id == "sft"
    assert choose_promoted([score("sft", 40, 60), score("dpo", 21, 30)], "sft").arm_id == "dpo"


def test_the_control_is_never_promoted():
    found = choose_promoted([score("sft", 40), score("sft-chosen", 59, eligible=False), score("dpo", 38)], "sft")
    assert found.arm_id == "sft"
    assert "sft-chosen" not in found.reason
    assert [one.arm_id for one in found.scores] == ["sft", "sft-chosen", "dpo"]


def test_only_candidate_and_no_candidate():
    assert "only eligible candidate" in choose_promoted([score("sft", 3)], "sft").reason
    nothing = choose_promoted([score("sft", 0, 0)], "sft")
    assert (nothing.arm_id, nothing.model) == (None, None)
    assert "nothing is promoted" in nothing.reason


def test_selection_rows_may_stand_among_the_arm_rows():
    given = make_input()
    moved = [
        arm.model_copy(update={"rows": arm.rows + next(c.rows for c in given.candidates if c.arm_id == arm.arm.id)})
        if arm.arm.id in {"sft", "dpo"}
        else arm
        for arm in given.arms
    ]
    bare = [PromotionCandidate(arm_id=name, model=f"demo-{name}") for name in ("sft", "dpo")]
    other = given.model_copy(update={"arms": moved, "candidates": bare})
    both = given.model_copy(update={"candidates": [one for one in given.candidates if one.eligible]})
    assert selection_scores(other, index_arms(other)) == selection_scores(both, index_arms(both))


def test_test_scores_never_decide():
    """DPO right on every test question and wrong on one more selection question than SFT: SFT stays."""
    given = make_input()
    perfect = [
        arm.model_copy(update={"rows": [judged(row.candidate.example_id) for row in arm.rows]})
        if arm.arm.id == "dpo"
        else arm
        for arm in given.arms
    ]
    ids = sorted(name for name, one in given.examples.items() if one.split == "selection")
    verdicts = {"sft": [Verdict.CORRECT] * 60, "dpo": [Verdict.CORRECT] * 59 + [Verdict.WRONG]}
    candidates = [
        PromotionCandidate(
            arm_id=name, model=name, rows=[judged(key, one) for key, one in zip(ids, found, strict=True)]
        )
        for name, found in verdicts.items()
    ]
    data = build_report(given.model_copy(update={"arms": perfect, "candidates": candidates}))
    assert data.promotion is not None
    assert data.promotion.arm_id == "sft"
