"""One style of writing: the statement stays the same, token by token."""

import sqlite3

import pytest

from shared.sql.tokens import normalize_sql, tokens
from tests.support.benchmarks import needs_data, spider_database, spider_golds, spider_predictions


@pytest.mark.parametrize(
    ("sql", "plain"),
    [
        ("select  name\nfrom Singer ;", "SELECT name FROM Singer"),
        ("SELECT a -- why; it's so\nFROM t", "SELECT a FROM t"),
        ("SELECT a/* x */FROM t;;", "SELECT a FROM t"),
        ("select 'from  ; x' , \"select\",[a  b] from t", "SELECT 'from  ; x', \"select\", [a  b] FROM t"),
        ("SELECT a FROM t WHERE x>=1.5e-3 AND y!='b'", "SELECT a FROM t WHERE x >= 1.5e-3 AND y != 'b'"),
        ("SELECT count ( * ) , max(a)FROM t", "SELECT COUNT(*), MAX(a) FROM t"),
        ("select j->>'$.a', a.b , -1, - -1 from t", "SELECT j->>'$.a', a.b, -1, - -1 FROM t"),
        ("SELECT max, Date FROM t", "SELECT max, Date FROM t"),
        ("SELECT a FROM t WHERE x in(1,2)", "SELECT a FROM t WHERE x IN (1, 2)"),
        ("select cast (a as int), 'x;' from t", "SELECT CAST(a AS int), 'x;' FROM t"),
        ("SELECT 'open; ", "SELECT 'open; "),
        ("", ""),
        (" ; ", ""),
    ],
)
def test_plain_style(sql: str, plain: str) -> None:
    assert normalize_sql(sql) == plain
    assert normalize_sql(plain) == plain


def said(sql: str) -> list[str]:
    """What a text says: its tokens without blanks, comments and closing semicolons, names in any case."""
    found = [
        text if kind == "quoted" else text.lower() for kind, text in tokens(sql) if kind not in ("blank", "comment")
    ]
    while found and found[-1] == ";":
        found.pop()
    return found


@needs_data
def test_real_queries_say_the_same_in_plain_style() -> None:
    texts = [gold for gold, _ in spider_golds()] + spider_predictions("c3_chatgpt") + spider_predictions("din_sql_gpt4")
    for sql in texts:
        plain = normalize_sql(sql)
        assert said(plain) == said(sql)
        assert normalize_sql(plain) == plain


@needs_data
def test_real_queries_compile_to_the_same_program_in_plain_style() -> None:
    for sql, name in spider_golds()[::7]:
        connection = sqlite3.connect(f"file:{spider_database(name)}?mode=ro", uri=True)
        programs = [
            [row[:7] for row in connection.execute(f"EXPLAIN {text}") if row[1] != "Transaction"]
            for text in (sql, normalize_sql(sql))
        ]
        connection.close()
        assert programs[0] == programs[1], sql
