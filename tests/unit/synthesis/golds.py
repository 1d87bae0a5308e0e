"""What every gold must hold, checked apart from the writer's own checks."""

import sqlite3
from functools import lru_cache

from sqlglot import exp, parse_one

from shared.contracts.records import DatabaseScript, Level, WrittenExample
from shared.sql.spider.hardness import MeasuredHardness, measured_hardness
from shared.sql.spider.schema import SpiderSchema

# The measured levels that each requested level stands for.
MEANT: dict[Level, set[str]] = {
    "easy": {"easy"},
    "medium": {"medium"},
    "hard": {"hard", "extra", "beyond_spider"},
}


@lru_cache(maxsize=64)
def _opened(ddl: tuple[str, ...], inserts: tuple[str, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA foreign_keys = ON")
    for statement in (*ddl, *inserts):
        connection.execute(statement)
    return connection


def opened(script: DatabaseScript) -> sqlite3.Connection:
    """The database, foreign keys enforced."""
    return _opened(tuple(script.ddl), tuple(script.inserts))


def rows_of(written: WrittenExample) -> list[tuple]:
    """The gold's rows."""
    assert written.database is not None
    return opened(written.database).execute(written.sql).fetchall()


def sort_keys(written: WrittenExample) -> list:
    """The keys of a gold whose rows have an order, one row more than its LIMIT; empty for a gold without order."""
    tree = parse_one(written.sql, read="sqlite")
    order, limit = tree.args.get("order"), tree.args.get("limit")
    if order is None:
        assert limit is None
        return []
    keys = tree.copy()
    keys.set("expressions", [key.this.copy() for key in order.expressions])
    keys.set("limit", exp.Limit(expression=exp.Literal.number(int(limit.expression.this) + 1)) if limit else None)
    assert written.database is not None
    return opened(written.database).execute(keys.sql(dialect="sqlite")).fetchall()


@lru_cache(maxsize=128)
def _schema(ddl: tuple[str, ...]) -> SpiderSchema:
    connection = _opened(ddl, ())
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return SpiderSchema({name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in names})


def measured(written: WrittenExample) -> MeasuredHardness:
    """Spider's hardness of the gold."""
    assert written.database is not None
    return measured_hardness(written.sql, _schema(tuple(written.database.ddl)))


def as_meant(written: WrittenExample) -> bool:
    """Whether the gold measures as it was asked for."""
    return measured(written) in MEANT[written.level]
