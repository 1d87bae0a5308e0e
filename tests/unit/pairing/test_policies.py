"""Which candidates become a pair, and why a question gives none."""

import pytest

from services.pairing.policies import POLICIES, choose_one, first_of_each
from services.pairing.tasks import as_pair, select_pairs
from shared.contracts.records import Candidate, Judged, Outcome, Pair, Policy, Verdict

GOOD, WRONG, ERROR = Verdict.CORRECT, Verdict.WRONG, Verdict.ERROR


def judged(*verdicts: Verdict, example: str = "e1", sql: str | None = "SELECT {slot}") -> list[Judged]:
    """One candidate a verdict, in slot order."""
    return [
        Judged(
            candidate=Candidate(
                example_id=example,
                slot=slot,
                answer="a",
                sql=sql.format(slot=slot) if sql is not None else None,
                model="w",
                answer_key="answers/x.json",
                clipped_rows=2,
            ),
            verdict=verdict,
            policy=Policy.STRICT,
            outcome=Outcome.OK if verdict in (GOOD, WRONG) else Outcome.UNKNOWN_COLUMN,
            message="no such column" if verdict is ERROR else None,
        )
        for slot, verdict in enumerate(verdicts)
    ]


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        ((GOOD, WRONG), "pair"),
        ((GOOD, ERROR), "pair"),
        ((GOOD, Verdict.TIMEOUT), "pair"),
        ((GOOD, GOOD), "all_correct"),
        ((WRONG, ERROR), "none_correct"),
        ((GOOD, Verdict.DISPUTED), "all_correct"),
        ((GOOD, Verdict.UNEXTRACTABLE), "all_correct"),
        ((Verdict.DISPUTED, WRONG), "none_correct"),
        ((GOOD, WRONG, Verdict.GOLD_FAILED), "excluded_gold"),
        ((GOOD, WRONG, Verdict.GOLD_TIMEOUT), "excluded_gold"),
        ((GOOD, WRONG, Verdict.BOTH_EMPTY), "excluded_gold"),
    ],
)
def test_every_question_has_a_reason(verdicts: tuple[Verdict, ...], reason: str) -> None:
    choice, found = choose_one(judged(*verdicts), 7)
    assert found == reason
    assert (choice is not None) is (reason == "pair")


def test_a_pair_is_of_what_was_judged_right_and_wrong() -> None:
    rows = judged(WRONG, GOOD, ERROR, GOOD, Verdict.DISPUTED)
    chosen, rejected = set(), set()
    for seed in range(60):
        choice, _ = choose_one(rows, seed)
        assert choice is not None
        chosen.add(choice.chosen.candidate.slot)
        rejected.add(choice.rejected.candidate.slot)
    assert (chosen, rejected) == ({1, 3}, {0, 2})


def test_the_draw_depends_on_seed_and_example_not_on_order() -> None:
    rows = judged(WRONG, GOOD, ERROR, GOOD, WRONG, GOOD)
    assert all(choose_one(rows, seed) == choose_one(rows[::-1], seed) for seed in range(20))
    draws = {str(choose_one(judged(*[GOOD, WRONG] * 4, example=f"e{n}"), 1)[0]) for n in range(10)}
    slots = {
        (choice.chosen.candidate.slot, choice.rejected.candidate.slot)
        for n in range(10)
        if (choice := choose_one(judged(*[GOOD, WRONG] * 4, example=f"e{n}"), 1)[0])
    }
    assert len(draws) == 10 and len(slots) > 1


def test_equal_texts_count_once_and_the_lowest_slot_stands_for_them() -> None:
    rows = judged(GOOD, GOOD, WRONG, sql="SELECT 1")
    assert [row.candidate.slot for row in first_of_each(rows[::-1], [GOOD])] == [0]
    assert first_of_each(judged(GOOD, sql=None), [GOOD]) == []


def test_a_pair_says_why_its_side_was_rejected() -> None:
    choice, _ = choose_one(judged(GOOD, ERROR), 1)
    assert choice is not None
    pair = as_pair("e1", choice, "one_per_question")
    assert (pair.chosen, pair.rejected, pair.chosen_slot, pair.rejected_slot) == ("SELECT 0", "SELECT 1", 0, 1)
    assert (pair.rejected_verdict, pair.rejected_outcome) == (ERROR, Outcome.UNKNOWN_COLUMN)
    assert (pair.rejected_message, pair.prompt_rows, pair.model) == ("no such column", 2, "w")
    assert pair.policy in POLICIES


def pair_of(example: str, chosen: str = "A", rejected: str = "B") -> Pair:
    return Pair(
        example_id=example,
        prompt_rows=3,
        chosen=chosen,
        rejected=rejected,
        chosen_slot=0,
        rejected_slot=1,
        rejected_verdict=WRONG,
        rejected_outcome=Outcome.OK,
        model="w",
        policy="one_per_question",
    )


def test_collecting_keeps_the_datasets_pairs_once_in_order() -> None:
    pairs = [pair_of("b"), pair_of("x"), pair_of("a"), pair_of("b"), pair_of("b", "C")]
    kept, outside, duplicates = select_pairs(pairs, {"a", "b"}, None)
    assert kept == [pairs[0], pairs[2], pairs[4]]
    assert (outside, duplicates) == (1, 1)
    assert select_pairs(pairs, {"a", "b"}, 2)[0] == [pairs[0], pairs[2]]
    assert select_pairs([], set(), None) == ([], 0, 0)
