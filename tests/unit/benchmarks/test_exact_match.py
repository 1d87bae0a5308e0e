import pytest

from services.benchmarks.exact_match import score_pairs
from services.benchmarks.prediction_files import Pair
from shared.errors import InvalidInputError
from shared.sql.spider.tree import Unreadable
from tests.unit.sql.spider.schemas import AIR


def test_pairs_are_scored_in_order_and_unreadable_golds_are_named() -> None:
    pairs = [
        Pair(0, "air", "SELECT name, age FROM staff", "SELECT age, name FROM staff"),
        Pair(1, "air", "SELECT name FROM staff WHERE age IS NULL", "SELECT name FROM staff"),
        Pair(2, "air", "SELECT name FROM staff", "", missing=True),
    ]
    found = score_pairs(pairs, {"air": AIR})
    assert [one.hardness for one in found] == ["medium", "beyond_spider", "easy"]
    assert [one.exact and one.exact.em for one in found] == [1, None, 0]
    assert found[1].gold_unreadable is Unreadable.NULL_TEST
    assert found[2].exact is not None
    assert found[2].exact.unreadable is Unreadable.EMPTY


def test_a_database_without_a_schema_is_named() -> None:
    with pytest.raises(InvalidInputError, match="question 4: no database is called 'aix'; did you mean 'air'"):
        score_pairs([Pair(4, "aix", "SELECT 1", "SELECT 1")], {"air": AIR})
