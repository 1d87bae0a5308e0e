from services.benchmarks.exact_match import ExactMatcher
from services.benchmarks.prediction_files import PredictionPair
from tests.unit.sql.spider.schemas import AIR


def test_questions_are_scored_and_unreadable_sql_is_named() -> None:
    pairs = [
        PredictionPair(0, "air", "SELECT name, age FROM staff", "SELECT age, name FROM staff"),
        PredictionPair(1, "air", "SELECT name FROM staff WHERE age IS NULL", "SELECT name FROM staff"),
        PredictionPair(2, "air", "SELECT name FROM staff", "", missing=True),
    ]
    matcher = ExactMatcher({"air": AIR}, ["official"])
    found = [matcher.score(pair) for pair in pairs]
    assert [one.hardness for one in found] == ["medium", "beyond_spider", "easy"]
    assert [one.em["official"] for one in found] == [1, 0, 0]
    assert found[2].unreadable == "empty"
