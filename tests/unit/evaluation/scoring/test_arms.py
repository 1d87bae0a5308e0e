"""What counts, for whom, and what is refused."""

import pytest

from services.evaluation.model import ArmResults, ReportInput
from services.evaluation.reports.build import build_report, per_question
from services.evaluation.scoring.arms import ScoredArm, arm_scores, index_rows, question_set, score_arm
from services.evaluation.scoring.comparisons import ABOVE, NO_EFFECT, NOT_TESTABLE, compare, find
from shared.contracts.records import Outcome, ResultView, Verdict
from shared.errors import InvalidInputError
from tests.unit.evaluation.sample import example, judged, make_input, spec

V = Verdict


def scored(name, rows, **changes):
    return ScoredArm(ArmResults(arm=spec(name, name.upper(), name, **changes), rows=rows), index_rows(rows))


def questions_of(examples, *arms):
    return question_set("held-out", examples, [row for arm in arms for row in arm.results.rows])


def examples_over(databases, count):
    return [example(k, "test", f"domain {k % databases}") for k in range(count)]


def rows_for(examples, verdicts, slot=0):
    return [judged(one.example_id, verdict, slot) for one, verdict in zip(examples, verdicts, strict=True)]


def test_bad_golds_leave_for_every_arm():
    examples = examples_over(3, 6)
    a = scored("a", rows_for(examples, [V.CORRECT, V.GOLD_FAILED, V.BOTH_EMPTY, V.WRONG, V.CORRECT, V.GOLD_TIMEOUT]))
    b = scored("b", rows_for(examples, [V.CORRECT, V.CORRECT, V.WRONG, V.WRONG, V.WRONG, V.ERROR]))
    questions = questions_of(examples, a, b)
    facts = questions.facts()
    assert (facts.questions, facts.scored, facts.gold_failed, facts.gold_empty) == (6, 3, 2, 1)
    assert score_arm(a, questions, 200, 0).accuracy == pytest.approx(2 / 3, abs=1e-6)
    assert (score_arm(b, questions, 200, 0).correct, score_arm(b, questions, 200, 0).questions) == (1, 3)


def test_empty_gold_is_seen_when_every_candidate_gave_rows():
    examples = examples_over(2, 2)
    empty = ResultView(outcome=Outcome.EMPTY, columns=["a"])
    rows = [judged(examples[0].example_id, V.WRONG, gold_result=empty), judged(examples[1].example_id)]
    questions = questions_of(examples, scored("a", rows))
    assert questions.gold_empty == {examples[0].example_id}
    assert len(questions.scored) == 1


def test_unanswered_counts_as_not_correct_for_greedy_and_is_left_out_for_sampled():
    examples = examples_over(2, 4)
    rows = rows_for(examples[:2], [V.CORRECT, V.WRONG])
    greedy, sampled = scored("a", rows), scored("b", rows, greedy=False, samples=1, temperature=1.0)
    questions = questions_of(examples, greedy, sampled)
    first, second = score_arm(greedy, questions, 200, 0), score_arm(sampled, questions, 200, 0)
    assert (first.accuracy, first.questions, first.unanswered) == (0.25, 4, 2)
    assert (second.accuracy, second.questions, second.unanswered) == (0.5, 2, 0)
    assert sum(tally.total for tally in first.levels.values()) == 4


def test_samples_mean_pass_and_invalid_share():
    examples = examples_over(2, 2)
    rows = [judged(examples[0].example_id, V.CORRECT if slot < 2 else V.ERROR, slot) for slot in range(8)]
    rows += [judged(examples[1].example_id, V.UNEXTRACTABLE if slot else V.TIMEOUT, slot) for slot in range(8)]
    arm = scored("a", rows, greedy=False, samples=8, temperature=1.0)
    score = score_arm(arm, questions_of(examples, arm), 200, 0)
    assert (score.accuracy, score.k, score.pass_at_k, score.invalid_sql) == (0.125, 8, 0.5, 13 / 16)


def test_difference_wins_losses_and_reading():
    examples = examples_over(4, 12)
    better = scored("a", rows_for(examples, [V.CORRECT] * 10 + [V.WRONG] * 2))
    worse = scored("b", rows_for(examples, [V.WRONG] * 8 + [V.CORRECT] * 2 + [V.WRONG] * 2))
    questions = questions_of(examples, better, worse)
    found = compare(better, worse, questions, 2000, 0)
    assert found is not None and found.interval is not None
    assert (found.wins, found.losses, found.questions, found.databases) == (8, 0, 12, 4)
    assert found.points == pytest.approx(800 / 12, abs=1e-4)
    assert found.p_value == pytest.approx(2 / 256)
    assert found.conclusion == ABOVE
    assert found.smallest_effect == pytest.approx(2.8 * (found.standard_error or 0), abs=1e-4)


def test_equal_arms_show_no_effect_and_no_smallest_effect():
    examples = examples_over(3, 9)
    arm = scored("a", rows_for(examples, [V.CORRECT, V.WRONG, V.ERROR] * 3))
    found = compare(arm, arm, questions_of(examples, arm), 500, 0)
    assert found is not None
    assert (found.conclusion, found.smallest_effect, found.p_value) == (NO_EFFECT, None, 1.0)


def test_one_database_gives_no_interval_and_says_so():
    examples = examples_over(1, 5)
    a, b = scored("a", rows_for(examples, [V.CORRECT] * 5)), scored("b", rows_for(examples, [V.WRONG] * 5))
    found = compare(a, b, questions_of(examples, a, b), 500, 0)
    assert found is not None
    assert (found.interval, found.conclusion, found.points) == (None, NOT_TESTABLE, 100.0)


def test_arm_without_rows_has_no_scores():
    examples = examples_over(2, 3)
    empty = scored("a", [])
    questions = questions_of(examples, empty)
    assert arm_scores(empty, questions) == {}
    assert score_arm(empty, questions, 500, 0).accuracy is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arm: [arm, arm], "stands twice"),
        (lambda arm: [ArmResults(arm=arm.arm, rows=[arm.rows[0], arm.rows[0]])], "slot 0 twice"),
        (lambda arm: [ArmResults(arm=arm.arm, rows=[judged("nobody")])], "unknown example nobody"),
    ],
)
def test_inputs_that_cannot_be_scored_are_refused(change, words):
    given = make_input()
    with pytest.raises(InvalidInputError, match=words):
        build_report(given.model_copy(update={"arms": change(given.arms[0])}))


def test_training_examples_are_refused():
    one = example(0, "train", "x")
    arm = ArmResults(arm=spec("sft", "SFT", "m"), rows=[judged(one.example_id)])
    with pytest.raises(InvalidInputError, match="training example"):
        build_report(ReportInput(job_id="j", job_name="n", examples={one.example_id: one}, arms=[arm]))


def test_comparisons_of_the_main_job():
    data = build_report(make_input())
    pairs = [(one.arm_id, one.other_id) for one in data.comparisons if one.set_name == "held-out"]
    assert pairs == [
        ("sft", "base-zero"), ("sft", "base-two"), ("sft-chosen", "sft"), ("dpo", "sft"), ("dpo", "sft-chosen"),
        ("dpo-t1", "sft-t1"),
    ]  # fmt: skip
    sampled = find(data.comparisons, "held-out", "dpo-t1", "sft-t1")
    assert sampled is not None and sampled.sampled and sampled.p_value is None


def test_per_question_lines_agree_with_the_scores():
    given = make_input()
    data, lines = build_report(given), list(per_question(given))
    assert [line["index"] for line in lines] == list(range(240))
    assert {line["set"] for line in lines} == {"held-out", "handwritten", "selection"}
    for score in (one for one in data.scores if one.arm.greedy):
        mine = [line for line in lines if line["set"] == score.set_name and line["scored"]]
        assert sum(line["arms"][score.arm.id][0]["ex"] for line in mine) == score.correct
        assert len(mine) == score.questions
