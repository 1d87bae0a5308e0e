"""What every gold must hold, checked apart from the writer's own checks."""

import re
import sqlite3
from functools import lru_cache

from shared.contracts.records import DatabaseScript, Written

ORDERED = re.compile(r"^SELECT .*? (FROM .* ORDER BY (.+?) (?:ASC|DESC))(?: LIMIT (\d+))?$")


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


def rows_of(written: Written) -> list[tuple]:
    """The gold's rows."""
    assert written.database is not None
    return opened(written.database).execute(written.sql).fetchall()


def sort_keys(written: Written) -> list:
    """The keys of an ordered gold, one more than its LIMIT; empty for a gold without order."""
    found = ORDERED.match(written.sql)
    if not found:
        assert "ORDER BY" not in written.sql
        assert "LIMIT" not in written.sql
        return []
    body, key, limit = found.groups()
    tail = f" LIMIT {int(limit) + 1}" if limit else ""
    assert written.database is not None
    return [row[0] for row in opened(written.database).execute(f"SELECT {key} {body}{tail}")]
