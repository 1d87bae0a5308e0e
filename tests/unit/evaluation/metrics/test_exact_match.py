import pytest

from services.evaluation.metrics.exact_match import COMPONENTS, Partial, exact_match, fixes_that_change
from services.evaluation.metrics.quirks import Fix
from shared.sql.spider.tree import Unreadable, UnreadableSqlError
from tests.unit.sql.spider.schemas import AIR

JOIN = "FROM flight AS t1 JOIN airport AS t2 ON t1.source = t2.code"


@pytest.mark.parametrize(
    ("pred", "gold", "em"),
    [
        ("SELECT name, age FROM staff", "SELECT age, name FROM staff", 1),
        ("SELECT DISTINCT name FROM staff", "SELECT name FROM staff", 1),
        ("SELECT name FROM staff WHERE age = 1", "SELECT name FROM staff WHERE age = 2", 1),
        ("SELECT name FROM staff WHERE age > 1", "SELECT name FROM staff WHERE age >= 1", 0),
        (
            "SELECT name FROM staff WHERE age = 1 AND id = 2",
            "SELECT name FROM staff WHERE id = 2 AND age = 1",
            1,
        ),
        ("SELECT name FROM staff WHERE age = 1 AND id = 2", "SELECT name FROM staff WHERE age = 1 OR id = 2", 0),
        ("SELECT count(name) FROM staff", "SELECT max(name) FROM staff", 0),
        ("SELECT name FROM staff ORDER BY age LIMIT 1", "SELECT name FROM staff ORDER BY age LIMIT 3", 1),
        ("SELECT name FROM staff ORDER BY age LIMIT 1", "SELECT name FROM staff ORDER BY age", 0),
        ("SELECT name FROM staff ORDER BY age DESC", "SELECT name FROM staff ORDER BY age", 0),
        # A foreign key is its primary key where its table stands in FROM.
        (
            "SELECT t1.airport FROM staff AS t1 JOIN airport AS t2 ON t1.airport = t2.code",
            "SELECT t2.code FROM staff AS t1 JOIN airport AS t2 ON t1.airport = t2.code",
            1,
        ),
        # Both sides of a set operation are matched exactly.
        (
            "SELECT id FROM staff UNION SELECT id FROM flight",
            "SELECT id FROM staff UNION SELECT id FROM flight",
            1,
        ),
        (
            "SELECT id FROM staff UNION SELECT source FROM flight",
            "SELECT id FROM staff UNION SELECT id FROM flight",
            0,
        ),
        ("SELECT * FROM staff", "SELECT * FROM flight", 0),
    ],
)
def test_official_verdicts(pred: str, gold: str, em: int) -> None:
    assert exact_match(pred, gold, AIR).em == em


@pytest.mark.parametrize(
    ("pred", "gold", "official", "fixes"),
    [
        ("SELECT dest FROM flight", "SELECT source FROM flight", 1, (Fix.FOREIGN_KEYS,)),
        (
            "SELECT t2.city FROM flight AS t1 JOIN airport AS t2 ON t1.dest = t2.code",
            f"SELECT t2.city {JOIN}",
            1,
            (Fix.JOIN_CONDITIONS,),
        ),
        # A join says which of two keys is meant.
        (f"SELECT t1.source {JOIN}", f"SELECT t2.code {JOIN}", 1, ()),
        (
            "SELECT name FROM staff ORDER BY age DESC, id ASC",
            "SELECT name FROM staff ORDER BY age ASC, id ASC",
            1,
            (Fix.ORDER_DIRECTIONS,),
        ),
        (
            "SELECT name FROM staff ORDER BY age LIMIT 1",
            "SELECT name FROM staff ORDER BY age LIMIT 3",
            1,
            (Fix.LIMIT_VALUE,),
        ),
        (
            "SELECT name FROM staff WHERE id IN (SELECT DISTINCT id FROM flight)",
            "SELECT name FROM staff WHERE id IN (SELECT id FROM flight)",
            0,
            (Fix.SUBQUERIES,),
        ),
        (
            "SELECT count(*) FROM (SELECT id FROM staff WHERE age = 1)",
            "SELECT count(*) FROM (SELECT id FROM staff WHERE age = 2)",
            0,
            (Fix.SUBQUERIES,),
        ),
        ("SELECT value FROM flight", "SELECT value FROM flight", 0, (Fix.VALUE_TEXT,)),
    ],
)
def test_strict_sets_named_faults_right(pred: str, gold: str, official: int, fixes: tuple[Fix, ...]) -> None:
    assert exact_match(pred, gold, AIR).em == official
    assert exact_match(pred, gold, AIR, "strict").em == (1 - official if fixes else official)
    assert fixes_that_change(pred, gold, AIR) == fixes


def test_an_unreadable_prediction_is_the_empty_sql() -> None:
    score = exact_match("SELECT name FROM staff WHERE age IN (1, 2)", "SELECT name FROM staff WHERE age = 1", AIR)
    assert (score.em, score.unreadable) == (0, Unreadable.IN_LIST)
    assert tuple(score.partials) == COMPONENTS
    assert score.partials["where"] == Partial(0, 0, 0, label_total=1, pred_total=0)
    assert score.partials["and/or"] == Partial(1, 1, 1, label_total=1, pred_total=1)


def test_an_unreadable_gold_is_an_error() -> None:
    with pytest.raises(UnreadableSqlError):
        exact_match("SELECT name FROM staff", "SELECT name FROM staff WHERE age IS NULL", AIR)


def test_a_pair_on_which_the_official_run_stops_counts_as_wrong() -> None:
    pred = "SELECT name FROM staff WHERE age = 1 id = 2 AND name = 'x'"
    score = exact_match(pred, "SELECT name FROM staff", AIR)
    assert (score.em, score.stops_official) == (0, True)


def test_connectors_of_a_miss_have_swapped_totals() -> None:
    score = exact_match("SELECT name FROM staff WHERE age = 1 OR id = 2", "SELECT name FROM staff WHERE age = 1", AIR)
    assert score.partials["and/or"] == Partial(0, 0, 0, label_total=1, pred_total=0)
