"""A round is kept where it beats every one before it; the table says what came of each."""

import pytest

from services.evaluation.model import CandidateScore, RoundFacts
from services.evaluation.reports.sentences import round_caveats, round_sentence
from services.evaluation.reports.tables import result_of, round_table
from services.evaluation.scoring.promotion import choose_promoted, score_rounds

NAMES = ("sft", "dpo", "dpo.r2", "dpo.r3")


def scores(*correct: int | None) -> list[CandidateScore]:
    """Right answers of 20 after each round; None: no answers."""
    return [
        CandidateScore(
            arm_id=name,
            model=f"m-{name}",
            eligible=True,
            correct=count or 0,
            questions=0 if count is None else 20,
            accuracy=None if count is None else count / 20,
        )
        for name, count in zip(NAMES, correct, strict=False)
    ]


@pytest.mark.parametrize(
    ("correct", "kept", "best"),
    [
        ((5,), [1], "sft"),
        ((5, 5), [1, 0], "sft"),
        ((5, 6), [1, 1], "dpo"),
        ((5, 4, 6), [1, 0, 1], "dpo.r2"),
        ((5, 7, 7, 6), [1, 1, 0, 0], "dpo"),
        ((5, None, 6), [1, 0, 1], "dpo.r2"),
        ((5, 6, None, 8), [1, 1, 0, 1], "dpo.r3"),
        ((0, 0, 0), [1, 0, 0], "sft"),
        ((None, None), [0, 0], "sft"),
        ((None, 3), [0, 1], "dpo"),
    ],
)
def test_a_round_has_to_beat_the_best_before_it(correct: tuple[int | None, ...], kept: list[int], best: str) -> None:
    lines = score_rounds(scores(*correct))
    assert [int(line.kept) for line in lines] == kept
    assert [line.arm_id for line in lines if line.best] == [best]
    assert [line.round for line in lines] == list(range(len(correct)))
    promoted = choose_promoted(scores(*correct), "sft").arm_id
    assert promoted in (best, None), "what the last choice says is what the report promotes"


def facts(number: int, **changes: object) -> RoundFacts:
    fields: dict[str, object] = {
        "number": number,
        "arm_id": "dpo" if number == 1 else f"dpo.r{number}",
        "began_from": "sft",
        "questions": 50,
        "samples": 200,
        "right_samples": 50,
        "pairs": 30,
        "minimum": 8,
        "steps": 8,
        "selection_correct": 6,
        "selection_questions": 20,
        "kept": True,
        "best": False,
    }
    return RoundFacts.model_validate(fields | changes)


SKIPPED = {"pairs": 3, "steps": 0, "selection_correct": 0, "selection_questions": 0, "kept": False}


def test_a_round_without_enough_pairs_says_so() -> None:
    rounds = [facts(1), facts(2, **SKIPPED), facts(3, best=True, began_from="dpo", selection_correct=9)]
    rows = round_table(rounds).rows
    assert [row[-1] for row in rows] == ["kept", "skipped: 3 pairs, 8 are needed", "kept, the best"]
    assert rows[0][:5] == ["1", "sft", "50", "25.0 % (50/200)", "30"]
    said = round_sentence(rounds)
    assert "round 2 skipped: 3 pairs, 8 are needed" in said and "round 3 45.0 % (9/20), kept, the best" in said
    assert result_of(facts(2, kept=False)) == "not kept: no better than the best before"


def test_what_choosing_does_is_told() -> None:
    chosen = round_caveats([facts(1), facts(2, best=True)])
    assert "2 rounds were held against" in chosen[0] and "20 selection questions" in chosen[0]
    assert chosen[1] == "The control has the steps of the first round, not those of all rounds."
    assert round_caveats([facts(1, best=True)]) == [] == round_caveats([])
