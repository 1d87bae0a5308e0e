import pytest

from services.evaluation.metrics.failures import BY_OUTCOME, FailureCause, ResultFacts, failure_of
from shared.contracts.records import Outcome, Verdict


def facts(*rows: tuple[object, ...], columns: int = 2) -> ResultFacts:
    return ResultFacts(columns, len(rows), rows)


GOLD = facts((1, "a"), (2, "b"))


@pytest.mark.parametrize(
    ("pred", "failure"),
    [
        (facts(), "empty"),
        (facts((1,), (2,), columns=1), "wrong_columns"),
        (facts((2, "b"), (1, "a")), "wrong_order"),
        (facts((1, "a"), (2, "b"), (2, "b")), "duplicates"),
        (facts(("a", 1), ("b", 2)), "column_order"),
        (facts((1, "a"), (3, "b")), "wrong_rows"),
        (ResultFacts(2, 2), "wrong_rows"),
        (ResultFacts(3, 2), "wrong_columns"),
        (ResultFacts(2, 0), "empty"),
    ],
)
def test_wrong_results_differ_in_a_named_way(pred: ResultFacts, failure: str) -> None:
    assert failure_of(Verdict.WRONG, Outcome.OK, GOLD, pred) == failure


def test_rows_for_an_empty_gold_are_wrong_rows() -> None:
    assert failure_of(Verdict.WRONG, Outcome.OK, facts(), GOLD) is FailureCause.WRONG_ROWS


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("outcome", [None, *Outcome])
def test_every_verdict_and_outcome_has_a_name(verdict: Verdict, outcome: Outcome | None) -> None:
    assert isinstance(failure_of(verdict, outcome), FailureCause)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.OK, Outcome.EMPTY, Outcome.NOT_RUN}))
def test_every_error_has_a_name_of_its_own(outcome: Outcome) -> None:
    assert failure_of(Verdict.ERROR, outcome) is BY_OUTCOME[outcome]


def test_the_golds_failure_comes_first() -> None:
    assert failure_of(Verdict.GOLD_TIMEOUT, Outcome.SYNTAX_ERROR) is FailureCause.GOLD_TIMEOUT
    assert failure_of(Verdict.TIMEOUT, Outcome.TIMEOUT) is FailureCause.TIMEOUT
    assert failure_of(Verdict.CORRECT, Outcome.OK) is FailureCause.CORRECT
    assert failure_of(Verdict.WRONG, Outcome.EMPTY) is FailureCause.EMPTY
