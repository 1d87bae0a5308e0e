"""Which of a question's possible pairs each policy takes."""

import random

import pytest

from services.pairing.decide import decide_pairs, make_pair
from services.pairing.policies import POLICIES
from shared.contracts.pairing import PairPolicy
from shared.contracts.records import JudgedCandidate, Outcome, Verdict
from tests.unit.pairing.builders import ERROR, GOLD, GOOD, WRONG, command, row, rows

NAMES: list[PairPolicy] = sorted(POLICIES)
MIXED = [
    row(0, WRONG, "SELECT name FROM singer WHERE age > 31", result_hash="w1"),
    row(1, GOOD, "SELECT name FROM singer WHERE age > 30"),
    row(2, WRONG, "SELECT count(*) FROM singer GROUP BY country HAVING age > 30", result_hash="w2"),
    row(3, GOOD, "SELECT s.name FROM singer AS s WHERE s.age >= 30.5"),
    row(4, WRONG, "SELECT id FROM singer WHERE age > 30", result_hash="w2"),
    row(5, ERROR, "SELECT nam FROM singer WHERE age > 30"),
    row(6, Verdict.DISPUTED, "SELECT name FROM singer ORDER BY 1"),
    row(7, Verdict.UNEXTRACTABLE),
]


def taken(judged: list[JudgedCandidate], policy: str, **fields: int) -> list[tuple[int, int]]:
    """Slots of the pairs."""
    return [choice.order for choice in decide_pairs(judged, command(policy, **fields)).pairings]


@pytest.mark.parametrize("policy", NAMES)
def test_a_pair_is_of_what_was_judged_right_and_wrong(policy: str) -> None:
    found = {slots for seed in range(40) for slots in taken(MIXED, policy, seed=seed)}
    assert found and {chosen for chosen, _ in found} <= {1, 3}
    assert {rejected for _, rejected in found} <= {0, 2, 4, 5}


@pytest.mark.parametrize("policy", NAMES)
def test_the_order_of_arrival_changes_nothing(policy: str) -> None:
    rng = random.Random(1)
    for seed in range(10):
        first = decide_pairs(MIXED, command(policy, seed=seed))
        shuffled = rng.sample(MIXED, len(MIXED))
        assert decide_pairs(shuffled, command(policy, seed=seed)) == first


def test_one_per_question_draws_by_seed_and_question() -> None:
    assert {slots for seed in range(60) for slots in taken(MIXED, "one_per_question", seed=seed)} == {
        (chosen, rejected) for chosen in (1, 3) for rejected in (0, 2, 4, 5)
    }
    drawn = [taken(rows(*[GOOD, WRONG] * 4, example=f"e{n}"), "one_per_question") for n in range(10)]
    assert all(len(one) == 1 for one in drawn) and len({one[0] for one in drawn}) > 1


def test_nearest_and_farthest_go_by_tokens() -> None:
    assert taken(MIXED, "nearest") == [(1, 0)], "30 and 31; slots decide among equals"
    assert taken(MIXED, "farthest") == [(3, 2)]


def test_hardest_takes_the_mistake_that_most_samples_share() -> None:
    assert taken(MIXED, "hardest") == [(1, 4)], "w2 came twice, and id is nearer to the right answer than the count"


def test_all_capped_uses_every_mistake_once_up_to_its_bound() -> None:
    every = taken(MIXED, "all_capped", per_question=8)
    assert sorted(rejected for _, rejected in every) == [0, 2, 4, 5]
    assert {chosen for chosen, _ in every} == {1, 3}, "right answers take turns"
    for seed in range(10):
        some = taken(MIXED, "all_capped", per_question=2, seed=seed)
        assert len(some) == 2 and len({chosen for chosen, _ in some}) == 2


def test_the_gold_is_chosen_only_where_it_was_asked_for_and_no_sample_is_right() -> None:
    wrong = rows(WRONG, ERROR)
    assert decide_pairs(wrong, command()).reason == "none_correct"
    decision = decide_pairs(wrong, command("gold_chosen"))
    (choice,) = decision.pairings
    made = make_pair(choice, wrong[0], "gold_chosen")
    assert (made.chosen, made.gold_chosen, made.chosen_slot, made.chosen_answer) == (GOLD, True, -1, None)
    assert not decide_pairs(MIXED, command("gold_chosen")).pairings[0].gold_chosen
    assert POLICIES["one_per_question"].gold_stands_in is False
    assert decide_pairs([row(0, WRONG, gold=None)], command("gold_chosen")).reason == "none_correct"


def test_a_pair_says_where_both_sides_come_from_and_why_one_was_rejected() -> None:
    judged = [row(0, GOOD, "select name from singer", suite_databases=3), row(1, ERROR, "SELECT nam FROM singer")]
    (choice,) = decide_pairs(judged, command()).pairings
    made = make_pair(choice, judged[0], "one_per_question")
    assert (made.chosen, made.rejected) == ("SELECT name FROM singer", "SELECT nam FROM singer")
    assert (made.chosen_slot, made.rejected_slot, made.distance, made.chosen_suite_databases) == (0, 1, 1, 3)
    assert (made.rejected_verdict, made.rejected_outcome) == (ERROR, Outcome.UNKNOWN_COLUMN)
    assert (made.chosen_answer, made.rejected_answer) == ("answers/0.json", "answers/1.json")
    assert (made.rejected_message, made.sample_rows, made.model) == ("no such column", 2, "w")
    assert made.judged_by == ["strict"]
