"""SQL out of free text."""

import pytest

from shared.sql.extract import extract_sql

SQL = "SELECT name FROM singer"


@pytest.mark.parametrize(
    ("answer", "sql"),
    [
        (SQL, SQL),
        (f"{SQL};", SQL),
        (f"```sql\n{SQL};\n```\nThis gives all names.", SQL),
        (f"```python\nprint(1)\n```\n```sql\n{SQL}\n```", SQL),
        (f"```{SQL}", SQL),
        (f"Here is the query: {SQL}; It's simple.", SQL),
        (f"I select the names with care.\n{SQL}\n\nSELECT 2", SQL),
        (f"SQL: {SQL}", SQL),
        (f"<think>SELECT 1? No.</think>\n{SQL}", SQL),
        ("SELECT a FROM t WHERE b = 'x; y' ; SELECT 2", "SELECT a FROM t WHERE b = 'x; y'"),
        ("SELECT a /* ; it's */ FROM t; more", "SELECT a /* ; it's */ FROM t"),
        ("SELECT a -- why; so\nFROM t; more", "SELECT a -- why; so\nFROM t"),
        ("WITH t AS (SELECT 1) SELECT * FROM t", "WITH t AS (SELECT 1) SELECT * FROM t"),
        ("With pleasure! select 1", "select 1"),
        ("WITH RECURSIVE n(i) AS (SELECT 1) SELECT i FROM n;", "WITH RECURSIVE n(i) AS (SELECT 1) SELECT i FROM n"),
        ("I cannot answer this with the tables shown.", None),
        ("<!doctype html><html><body>Sign in</body></html>", None),
        ("", None),
        ("   \n", None),
        ("```sql\n```", None),
        ("DELETE FROM singer", None),
    ],
)
def test_extraction(answer: str, sql: str | None) -> None:
    assert extract_sql(answer) == sql


def test_a_flood_of_text_is_read_in_linear_time() -> None:
    flood = "with select " * 20_000
    assert extract_sql(f"{flood}\n{SQL}") is not None
    assert extract_sql("'" * 100_000) is None
    assert extract_sql("```" * 50_000) is None
    assert len(extract_sql("SELECT " + "name, " * 10_000) or "") > 50_000
