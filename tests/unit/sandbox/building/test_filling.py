"""What filters want of rows, and values that fulfil them."""

import pytest

from services.sandbox.building.filling import read_conditions, satisfies, satisfying_value

COLUMNS = {
    "singer": frozenset({"id", "name", "age", "country"}),
    "song": frozenset({"id", "singer_id", "title", "sales", "day"}),
}


def test_conditions_are_read_select_by_select() -> None:
    found = read_conditions(
        'SELECT T1.name FROM singer T1 JOIN song T2 ON T1.id = T2.singer_id WHERE T2.sales > 10 AND country = "Peru" '
        "INTERSECT SELECT name FROM singer WHERE age BETWEEN 20 AND 30 GROUP BY name HAVING count(*) > 3",
        COLUMNS,
    )
    assert found.selects == [
        {("song", "sales"): [(">", 10)], ("singer", "country"): [("=", "Peru")]},
        {("singer", "age"): [(">=", 20), ("<=", 30)]},
    ]
    assert found.rows == 4


@pytest.mark.parametrize(
    "gold", ["", "SELECT", "DROP TABLE x", "SELECT 1", "SELECT ((((", "select * from nowhere where a = 1"]
)
def test_any_text_gives_some_wants(gold: str) -> None:
    assert not any(read_conditions(gold, COLUMNS).selects)


def test_what_is_denied_is_not_wanted() -> None:
    assert not any(read_conditions("SELECT name FROM singer WHERE NOT (age = 3)", COLUMNS).selects)


@pytest.mark.parametrize(
    ("conditions", "usual"),
    [
        ([("=", "Peru")], "Chile"),
        ([(">", 10)], 3),
        ([(">", 10), ("<", 12)], 3),
        ([(">=", "2019-03-01"), ("<=", "2019-03-31")], "2021-01-01"),
        ([("like", "%ann%")], "Bob"),
        ([("!=", 3)], 3),
        ([("<", 0)], 5),
        ([("null", None)], "x"),
    ],
)
def test_a_value_fulfils_all_conditions(conditions: list[tuple[str, object]], usual: object) -> None:
    value = satisfying_value(conditions, usual)  # type: ignore[arg-type]
    assert all(satisfies(one, value) for one in conditions)  # type: ignore[arg-type]


def test_the_usual_value_stays_where_it_fits_and_the_first_condition_decides_where_none_fits() -> None:
    assert satisfying_value([(">", 1)], 7) == 7
    assert satisfying_value([("=", 1), ("=", 2)], 7) == 1
