"""No SQL takes sqlglot longer than its length allows: texts that double the work with every level, or are very deep."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlglot.errors import SqlglotError

from services.sandbox.building.filling import read_conditions
from services.sandbox.judging.verification import reads_no_table
from services.sandbox.test_suites.validity import static_fault
from services.serving.sql.answering import translate_sql
from shared.sql.completion import render_completion
from shared.sql.features import sql_features
from shared.sql.parser import MAX_CHARS, find_syntax_error, parse_sql
from tests.support.deadline import within

DEADLINE_S = 60.0  # sqlglot alone needs hours
# what stands before, what is repeated, what stands inside, and what closes each repetition
NESTS = [
    *[(f"SELECT {name}(", f"{name}(", "1", ")") for name in ("STRUCT", "DECIMAL", "DATE", "VARCHAR", "ENUM", "JSON")],
    *[(f"SELECT {name}(", f"{name}(", "", "") for name in ("STRUCT", "OBJECT", "TIMESTAMP", "f")],
    ("SELECT ", "DECIMAL((", "1", "))"),
    ("SELECT ", "(", "1", ")"),
    ("SELECT ", "CASE WHEN 1 THEN ", "1", " END"),
    ("SELECT ", "NOT ", "1", ""),
    ("SELECT ", "f((x) -> ", "1", ")"),
    ("SELECT ", "1 + ", "1", ""),
    ("SELECT ", "a || ", "b", ""),
    ("SELECT * FROM t WHERE ", "a = 1 OR ", "b", ""),
    ("", "SELECT 1 UNION ", "SELECT 2", ""),
    ("", "SELECT * FROM (", "SELECT 1", ")"),
    ("SELECT CAST(1 AS ", "STRUCT<a ", "INT", ">"),
    ("SELECT ", "1,", "1", ""),
]
POISON = [
    begin + again * count + inside + end * count
    for begin, again, inside, end in NESTS
    for count in (30, 10_000 // (len(again) + len(end)), 200_000 // len(again))
]
READERS: list[Callable[[str], Any]] = [
    find_syntax_error,
    sql_features,
    reads_no_table,
    static_fault,
    lambda sql: read_conditions(sql, {"t": frozenset({"a", "b"})}),
    lambda sql: render_completion("reasoning_sql", sql),
    lambda sql: translate_sql(sql, "duckdb"),
]


@pytest.mark.parametrize("read", READERS, ids=["readable", "features", "table", "fault", "wants", "outline", "display"])
def test_a_poisoned_sql_is_read_or_refused_in_time(read: Callable[[str], Any]) -> None:
    def read_all() -> int:
        return sum(1 for sql in POISON if read(sql) is not read)

    assert within(DEADLINE_S, read_all) == len(POISON)


def test_the_reason_says_what_is_wrong_with_the_sql() -> None:
    assert find_syntax_error("SELECT " + "STRUCT(" * 30 + "1" + ")" * 30) == "the SQL is too involved to be read"
    assert find_syntax_error("SELECT " + "(" * 2000 + "1" + ")" * 2000) == "the SQL is nested too deeply"
    assert find_syntax_error("SELECT 1" + " " * MAX_CHARS) == "the SQL is longer than 50,000 characters"
    assert find_syntax_error("SELECT 1" + " + 1" * 3000) == "the SQL is nested deeper than 1,000 levels"


def test_a_dialect_that_writes_a_part_twice_is_bounded() -> None:
    """DuckDB's MAX of two values is a CASE that holds each of them twice."""
    nested = "max(" * 20 + "a" + ", b)" * 20
    shown, warning = within(DEADLINE_S, translate_sql, f"SELECT {nested} FROM t", "duckdb")
    assert shown is None
    assert warning == "the SQL cannot be shown in duckdb: the SQL is too involved to be written so"
    assert translate_sql("SELECT max(max(a, b), c) FROM t", "duckdb")[0] is not None


def test_long_and_deep_sql_that_people_write_is_read() -> None:
    listed = ", ".join(map(str, range(5000)))
    assert len(parse_sql(f"SELECT a FROM t WHERE b IN ({listed})")) == 1
    assert len(parse_sql("SELECT a FROM t WHERE " + " OR ".join(f"b = {n}" for n in range(900)))) == 1
    assert len(parse_sql("SELECT " + "date(" * 6 + "'2020-01-01'" + ", '+1 day')" * 6)) == 1
    assert len(parse_sql("SELECT a FROM t UNION " * 400 + "SELECT a FROM t")) == 1


@pytest.mark.parametrize("sql", ["", ";", "-- nothing", "SELECT", "\x00", "'", "/*", "SELECT 1 LIMIT x''", "[" * 50])
def test_whatever_stops_sqlglot_is_one_kind_of_error(sql: str) -> None:
    try:
        assert parse_sql(sql) is not None
    except SqlglotError as error:
        assert str(error)
