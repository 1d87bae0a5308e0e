"""Why a question gives pairs or none, and which pairings may not be."""

import pytest

from services.pairing.decide import decide_pairs
from services.pairing.policies import distinct_sides
from shared.contracts.records import Outcome, Policy, ResultView, Verdict
from tests.unit.pairing.builders import ERROR, GOOD, WRONG, command, row, rows


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
        ((Verdict.UNEXTRACTABLE, Verdict.UNEXTRACTABLE), "none_correct"),
        ((GOOD, WRONG, Verdict.GOLD_FAILED), "gold_failed"),
        ((GOOD, WRONG, Verdict.GOLD_TIMEOUT), "gold_timeout"),
        ((GOOD, WRONG, Verdict.BOTH_EMPTY), "both_empty"),
    ],
)
def test_every_question_has_a_reason(verdicts: tuple[Verdict, ...], reason: str) -> None:
    decision = decide_pairs(rows(*verdicts), command())
    assert decision.reason == reason
    assert bool(decision.pairings) is (reason == "pair")


def test_equal_answers_are_one_side_and_the_lowest_slot_stands_for_them() -> None:
    judged = [row(2, GOOD, "SELECT a FROM t"), row(0, GOOD, "select  a from t;"), row(1, GOOD, "SELECT a -- x\nFROM t")]
    (side,) = distinct_sides(judged, [GOOD])
    assert (side.slot, side.samples, side.text) == (0, 3, "SELECT a FROM t")
    assert distinct_sides([row(0, Verdict.UNEXTRACTABLE)], [Verdict.UNEXTRACTABLE]) == []


@pytest.mark.parametrize(
    ("right", "wrong", "dropped"),
    [
        ("SELECT Name FROM t", "select name from T;", {"same_text": 1}),
        ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'X'", {}),
        ("SELECT a FROM t", "SELECT a FROM t WHERE b = 1 AND c = 2 AND d = 3 AND e = 4 AND f", {"length_ratio": 1}),
    ],
)
def test_two_writings_and_lopsided_sides_make_no_pair(right: str, wrong: str, dropped: dict[str, int]) -> None:
    decision = decide_pairs([row(0, GOOD, right), row(1, WRONG, wrong)], command())
    assert (decision.reason, dict(decision.refused)) == ("filtered" if dropped else "pair", dropped)


def test_a_bound_on_lengths_is_the_commands() -> None:
    judged = [row(0, GOOD, "SELECT a FROM t"), row(1, WRONG, "SELECT a, b, c, d, e, f FROM t WHERE x")]
    assert decide_pairs(judged, command(length_ratio=1.5)).reason == "filtered"
    assert decide_pairs(judged, command(length_ratio=3)).reason == "pair"


def test_one_program_makes_no_pair() -> None:
    late = row(1, Verdict.TIMEOUT, "SELECT t.a FROM t", program="p1")
    decision = decide_pairs([row(0, GOOD, "SELECT a FROM t", program="p1"), late], command())
    assert (decision.reason, dict(decision.refused)) == ("filtered", {"same_program": 1})
    other = row(0, GOOD, "SELECT a FROM t", program="p2")
    assert decide_pairs([other, late], command()).reason == "pair"
    unknown = [row(0, GOOD, "SELECT a FROM t"), row(1, WRONG, "SELECT b FROM t")]
    assert decide_pairs(unknown, command()).reason == "pair", "no program is not one program"


def agreeing(count: int, *others: Verdict, result: str = "same") -> list:
    """So many wrong samples with one result, and others."""
    judged = [row(slot, WRONG, result_hash=result) for slot in range(count)]
    return judged + [row(count + slot, verdict) for slot, verdict in enumerate(others)]


def test_a_gold_that_half_of_the_samples_speak_against_is_listed() -> None:
    judged = agreeing(2, ERROR, WRONG)
    decision = decide_pairs(judged, command("gold_chosen"))
    assert decision.reason == "suspect_gold" and decision.pairings == []
    assert decision.suspect is not None
    assert (decision.suspect.samples, decision.suspect.agreeing) == (4, 2)
    assert decision.suspect.other == "SELECT 0, name FROM singer"


@pytest.mark.parametrize(
    "judged",
    [
        agreeing(2, ERROR, WRONG, WRONG),
        agreeing(1, ERROR),
        agreeing(3, GOOD),
        [*agreeing(3), row(3, Verdict.DISPUTED, suite_databases_lost=1)],
        [*agreeing(3), row(3, Verdict.DISPUTED, verdicts={Policy.STRICT: WRONG, Policy.BIRD: GOOD})],
        [row(slot, WRONG, result_hash="none", outcome=Outcome.EMPTY) for slot in range(4)],
        rows(ERROR, ERROR, ERROR),
    ],
)
def test_golds_that_are_not_suspect(judged: list) -> None:
    assert decide_pairs(judged, command()).suspect is None


def test_an_empty_gold_can_be_suspect_and_never_stands_in() -> None:
    empty = {"gold_result": ResultView(outcome=Outcome.EMPTY), "gold_result_hash": "nothing"}
    judged = [row(slot, WRONG, result_hash="same", **empty) for slot in range(2)]
    assert decide_pairs(judged, command()).reason == "suspect_gold"
    apart = [row(slot, WRONG, **empty) for slot in range(3)]
    assert decide_pairs(apart, command("gold_chosen")).reason == "none_correct"
