from services.evaluation.metrics.aggregate import GroupScore, QuestionRow, summarise
from services.evaluation.metrics.failures import FailureCause
from shared.contracts.records import Outcome, Verdict

ROWS = [
    QuestionRow(
        0,
        "a",
        "hard",
        Verdict.CORRECT,
        Outcome.OK,
        ex=1,
        em=1,
        failure=FailureCause.CORRECT,
        features=frozenset({"join"}),
    ),
    QuestionRow(
        1,
        "b",
        "easy",
        Verdict.WRONG,
        Outcome.OK,
        ex=0,
        em=0,
        failure=FailureCause.WRONG_ROWS,
        features=frozenset({"order"}),
    ),
    QuestionRow(
        2, "b", "easy", Verdict.BOTH_EMPTY, Outcome.EMPTY, ex=1, failure=FailureCause.BOTH_EMPTY, gold_empty=True
    ),
    QuestionRow(
        3,
        "b",
        "easy",
        Verdict.GOLD_FAILED,
        ex=0,
        em=1,
        failure=FailureCause.GOLD_FAILED,
        features=frozenset({"join", "order"}),
    ),
]


def test_groups_come_in_the_order_of_reports() -> None:
    found = summarise(ROWS)
    assert list(found.by_hardness) == ["easy", "hard"]
    assert list(found.by_feature) == ["join", "order", "none"]
    assert list(found.by_database) == ["a", "b"]
    assert found.by_hardness["easy"] == GroupScore(3, {"ex": 1 / 3, "em": 0.5})
    assert found.by_feature["join"] == GroupScore(2, {"ex": 0.5, "em": 1.0})


def test_a_metric_that_was_not_asked_for_is_absent() -> None:
    found = summarise(ROWS)
    assert found.overall == GroupScore(4, {"ex": 0.5, "em": 2 / 3})


def test_what_the_golds_allow() -> None:
    found = summarise(ROWS)
    assert (found.ceiling, found.golds_failed, found.golds_empty) == (0.75, (3,), 1)
    assert found.ex_gold_not_empty == 1 / 3


def test_counts() -> None:
    found = summarise(ROWS)
    assert found.verdicts == {"both_empty": 1, "correct": 1, "gold_failed": 1, "wrong": 1}
    assert found.outcomes == {"ok": 2, "empty": 1}
    assert sum(found.failures.values()) == 4


def test_no_questions_at_all() -> None:
    found = summarise([])
    assert (found.overall, found.ceiling, found.ex_gold_not_empty) == (GroupScore(0, {}), 0.0, None)
