import pytest

from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.tree import ColumnUnit, ParsedSql, Unreadable, UnreadableSqlError
from tests.unit.sql.spider.schemas import AIR


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("", "empty"),
        ("SELECT name FROM staff WHERE name = 'x", "odd_quotes"),
        ("DROP TABLE staff", "not_a_query"),
        ("SELECT 1", "no_from"),
        ("WITH a AS (SELECT id FROM staff) SELECT id FROM a", "cte"),
        ("SELECT CASE WHEN age > 1 THEN 1 END FROM staff", "case"),
        ("SELECT rank() OVER (ORDER BY age) FROM staff", "unsupported_function"),
        ("SELECT count(*) OVER (ORDER BY age) FROM staff", "window"),
        ("SELECT CAST(age AS int) FROM staff", "cast"),
        ("SELECT round(age) FROM staff", "unsupported_function"),
        ("SELECT name FROM staff WHERE age IN (1, 2)", "in_list"),
        ("SELECT name FROM staff WHERE age IN (1,2)", "in_list"),
        ("SELECT name FROM staff WHERE age IN ('a', 'b')", "in_list"),
        ("SELECT name FROM staff WHERE age IS NULL", "null_test"),
        ("SELECT name FROM staff WHERE age IS NOT NULL", "null_test"),
        ("SELECT name FROM staff WHERE EXISTS (SELECT id FROM flight)", "exists"),
        ("SELECT name FROM staff WHERE NOT EXISTS (SELECT id FROM flight)", "exists"),
        ("SELECT name FROM staff WHERE age <> 3", "not_equal_sign"),
        ("SELECT name FROM staff WHERE age=3", "glued_operator"),
        ("SELECT `name` FROM staff", "quoted_identifier"),
        ("SELECT count(1) FROM staff", "constant"),
        ("SELECT max(age) - min(age) FROM staff", "arithmetic_between_aggregates"),
        ("SELECT (SELECT max(age) FROM staff) FROM staff", "scalar_subquery"),
        ("SELECT name FROM staff UNION ALL SELECT city FROM airport", "set_all"),
        ("SELECT name FROM staff, airport", "comma_join"),
        ("SELECT name FROM staff INNER JOIN airport ON airport = code", "join_kind"),
        ("SELECT name FROM staff LEFT JOIN airport ON airport = code", "join_kind"),
        ("SELECT count(*) AS n FROM staff", "column_alias"),
        ("SELECT age FROM (SELECT age FROM staff) AS t", "table_alias_of_subquery"),
        ("SELECT s.name FROM staff s", "alias_without_as"),
        ("SELECT name FROM staff AS airport", "alias_is_table"),
        ("SELECT t2.name FROM staff AS t1", "unknown_alias"),
        ("SELECT name FROM crew", "unknown_table"),
        ("SELECT wage FROM staff", "unknown_column"),
        ("SELECT t1.wage FROM staff AS t1", "unknown_column"),
        ("SELECT name FROM staff WHERE", None),
        ("SELECT name FROM staff WHERE age >", "incomplete"),
    ],
)
def test_what_the_grammar_cannot_read_has_a_name(sql: str, reason: str | None) -> None:
    if reason is None:
        assert parse_spider_sql(sql, AIR).where == ()
        return
    with pytest.raises(UnreadableSqlError) as caught:
        parse_spider_sql(sql, AIR)
    assert caught.value.reason is Unreadable(reason)
    assert reason in str(caught.value)


def columns(tree: ParsedSql) -> list[str]:
    return [item.value.left.column for item in tree.select]


def test_a_bare_column_belongs_to_the_first_table_that_has_it() -> None:
    assert columns(parse_spider_sql("SELECT id, name, code FROM flight JOIN staff JOIN airport", AIR)) == [
        "flight.id",
        "staff.name",
        "airport.code",
    ]


def test_an_alias_is_global_and_the_last_one_wins() -> None:
    sql = "SELECT t1.id FROM flight AS t1 WHERE source IN (SELECT t1.code FROM airport AS t1)"
    with pytest.raises(UnreadableSqlError):
        parse_spider_sql(sql, AIR)
    assert columns(parse_spider_sql("SELECT t1.id FROM flight AS t1 EXCEPT SELECT t1.id FROM staff AS t1", AIR)) == [
        "staff.id"
    ]


def test_text_behind_the_query_is_ignored() -> None:
    assert parse_spider_sql("SELECT name FROM staff LIMIT 3 OFFSET 2", AIR) == parse_spider_sql(
        "SELECT name FROM staff LIMIT 9", AIR
    )


def test_a_long_value_is_its_first_column() -> None:
    tree = parse_spider_sql("SELECT name FROM staff WHERE age > age + 1 OR name = 'x'", AIR)
    assert len(tree.where) == 1
    assert tree.where[0][3] == ColumnUnit("none", "staff.age", False)


def test_the_last_direction_counts_and_each_is_remembered() -> None:
    tree = parse_spider_sql("SELECT name FROM staff ORDER BY age DESC, name ASC LIMIT 5", AIR)
    assert tree.order_by is not None
    assert (tree.order_by.direction, tree.directions) == ("asc", ("desc", "asc"))
    assert (tree.limit, tree.limit_text) == (1, "5")


def test_brackets_that_never_end_are_too_deep() -> None:
    sql = "SELECT name FROM staff WHERE id IN (" * 2000
    with pytest.raises(UnreadableSqlError) as caught:
        parse_spider_sql(sql, AIR)
    assert caught.value.reason is Unreadable.TOO_DEEP
