"""The error profile adds up over shards and counts each answer once an outcome."""

import pytest

from services.pairing.decide import decide_pairs
from services.pairing.error_profile import NO_FEATURE, ErrorTally
from shared.contracts.records import JudgedCandidate, Verdict
from tests.unit.pairing.builders import ERROR, GOOD, WRONG, command, row, rows

JOIN = "SELECT count(*) FROM a JOIN b ON a.id = b.id GROUP BY a.id"


def tally(*questions: list[JudgedCandidate]) -> ErrorTally:
    found = ErrorTally()
    for judged in questions:
        found.add(judged, decide_pairs(judged, command()))
    return found


QUESTIONS = [
    rows(GOOD, WRONG, ERROR, Verdict.DISPUTED),
    [row(0, WRONG, example="e2", gold=JOIN), row(1, GOOD, example="e2", gold=JOIN)],
    [row(0, Verdict.UNEXTRACTABLE, example="e3", gold=JOIN)],
    rows(Verdict.GOLD_FAILED, example="e4"),
]


def test_lines_by_outcome_and_feature() -> None:
    profile = tally(*QUESTIONS).profile()
    outcomes = {line.name: (line.answers, line.correct, line.wrong, line.error) for line in profile.outcomes}
    assert outcomes == {"ok": (4, 2, 2, 0), "unknown_column": (1, 0, 0, 1), "unextractable": (1, 0, 0, 0)}
    features = {line.name: (line.answers, line.correct, line.unextractable) for line in profile.features}
    assert features == {"join": (3, 1, 1), "aggregate": (3, 1, 1), "group": (3, 1, 1), NO_FEATURE: (3, 1, 0)}
    assert [line.name for line in profile.features] == ["join", "aggregate", "group", NO_FEATURE]
    assert next(line for line in profile.features if line.name == "join").failed == pytest.approx(2 / 3)


def test_verdicts_and_reasons_are_all_counted() -> None:
    found = tally(*QUESTIONS)
    assert sum(found.verdicts().values()) == 8
    assert found.named("reason") == {"pair": 2, "gold_failed": 1, "none_correct": 1}


def test_shards_add_up_in_any_order() -> None:
    whole = tally(*QUESTIONS)
    for order in (QUESTIONS, QUESTIONS[::-1]):
        merged = ErrorTally()
        for judged in order:
            merged.merge(tally(judged).rows())
        assert merged.rows() == whole.rows()
        assert merged.profile() == whole.profile()
