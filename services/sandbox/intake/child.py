"""The child that checks one uploaded file and ends.

Start: `python -m services.sandbox.intake.child LIMITS_JSON PROGRESS_FD FILES_FD`. The file is read as immutable. Of its
schema only generated columns and indexed expressions are computed, with functions that SQLite deems innocuous
(`trusted_schema` is off); CHECK constraints are not even parsed.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import apsw

from services.sandbox.execution.child_loop import serve_once
from services.sandbox.execution.connection import (
    DeadlineClock,
    foreign_collations,
    harden,
    quote_identifier,
    register_collations,
)
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.outcomes import UnusableDatabaseError, classify_error
from services.sandbox.execution.protocol import given_path

MOST_TABLES, MOST_COLUMNS, MOST_SCHEMA_BYTES = 1_000, 20_000, 4_000_000
FAULTS, BROKEN_ROWS, MESSAGE_CHARS = 20, 10_000, 300
# What integrity_check reports about values stored against their schema: the file itself is sound.
SOUND = re.compile(r"(NULL|NUMERIC|TEXT|non-\w+) value in ")
COUNTS = """SELECT (SELECT count(*) FROM pragma_table_list
  WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'),
 sum(type = 'view'), sum(type = 'trigger'), sum(type = 'table'), sum(length(sql)) FROM sqlite_master"""
COLUMNS = "SELECT sum(ncol) FROM pragma_table_list WHERE schema = 'main'"
WAL = (
    "the file is in WAL mode: it is read as it stands, and what its program had written only to the -wal file beside "
    "it is not here; PRAGMA wal_checkpoint(TRUNCATE) before uploading brings it in"
)


class FileRefusedError(Exception):
    """The file cannot be accepted; the message ends the sentence for the user."""


def inspect(file: int, limits: Limits, clock: DeadlineClock) -> dict[str, Any]:
    """Counts and warnings. Raises FileRefusedError, or apsw.Error for a file that is not sound."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    sqlite = apsw.Connection(f"file:{quote(given_path(file))}?mode=ro&immutable=1", flags=flags, statementcachesize=0)
    sqlite.set_progress_handler(clock.over, limits.progress_steps)
    harden(sqlite)
    for pragma in ("query_only=1", "temp_store=2", "mmap_size=0"):
        sqlite.execute(f"PRAGMA {pragma}").fetchall()
    sqlite.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    sqlite.limit(apsw.SQLITE_LIMIT_WORKER_THREADS, 0)
    found = count_schema(sqlite)
    warnings = [WAL] if 2 in os.pread(file, 20, 0)[18:20] else []  # the header's file format versions
    foreign = foreign_collations(sqlite)
    # every pair compares as equal: only pages are checked then, no order
    register_collations(sqlite, foreign, lambda _one, _other: 0)
    warnings += check_integrity(sqlite, foreign)
    warnings += check_foreign_keys(sqlite)
    return {**found, "warnings": warnings}


def count_schema(sqlite: apsw.Connection) -> dict[str, int]:
    """Raises FileRefusedError for a schema that is empty or larger than a card should be."""
    tables, views, triggers, entries, size = (int(n or 0) for n in sqlite.execute(COUNTS).fetchall()[0])
    if entries > MOST_TABLES or size > MOST_SCHEMA_BYTES:
        raise FileRefusedError(
            f"has {entries} tables in {size} bytes of schema; at most {MOST_TABLES} tables are taken"
        )
    if not tables:
        raise FileRefusedError("holds no ordinary table")
    columns = int(sqlite.execute(COLUMNS).fetchall()[0][0] or 0)
    if columns > MOST_COLUMNS:
        raise FileRefusedError(f"has {columns} columns; at most {MOST_COLUMNS} are taken")
    return {"tables": tables, "views": views, "triggers": triggers}


def check_integrity(sqlite: apsw.Connection, foreign: Sequence[str] = ()) -> list[str]:
    """Warnings about values that break the schema of their table. Raises FileRefusedError for a damaged file.

    When an index needs a collation or function that only its program has, its order and content cannot be checked.
    Pages can (`quick_check`), table by table if necessary.
    """
    try:
        return read_check(run_check(sqlite, f"quick_check({FAULTS})" if foreign else f"integrity_check({FAULTS})"))
    except apsw.SQLError as error:
        reason = str(error)[:MESSAGE_CHARS]
        return [
            *read_check(check_each_table(sqlite)),
            f"a part of the schema needs what only its own program has ({reason})",
        ]


def run_check(sqlite: apsw.Connection, pragma: str) -> list[str]:
    return [str(line) for (line,) in sqlite.execute(f"PRAGMA {pragma}")]


def check_each_table(sqlite: apsw.Connection) -> list[str]:
    lines: list[str] = []
    names = sqlite.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'").fetchall()
    for (name,) in names:
        try:
            lines += run_check(sqlite, f"quick_check({quote_identifier(str(name))})")
        except apsw.SQLError:
            continue
    return lines


def read_check(lines: Sequence[str]) -> list[str]:
    broken = [line for line in lines if line != "ok" and not SOUND.match(line)]
    if broken:
        first = broken[0].replace("\n", " ")[:MESSAGE_CHARS]
        raise FileRefusedError(f"is damaged: {first}; repair it with sqlite3's .recover, or export it anew")
    return [f"integrity check: {line[:MESSAGE_CHARS]}" for line in lines if line != "ok"][:3]


def check_foreign_keys(sqlite: apsw.Connection) -> list[str]:
    """A warning when references lead nowhere or cannot be checked: such data can still be queried."""
    broken: Counter[str] = Counter()
    try:
        for table, *_ in sqlite.execute("PRAGMA foreign_key_check"):
            broken[str(table)] += 1
            # a file with very many of them would use up the deadline
            if broken.total() >= BROKEN_ROWS:
                break
    except apsw.InterruptError:
        return ["foreign keys were not all checked: there was no time left"]
    except apsw.Error as error:
        return [f"foreign keys cannot be checked: {str(error)[:MESSAGE_CHARS]}"]
    if not broken:
        return []
    named = ", ".join(f"{table[:60]} ({rows})" for table, rows in sorted(broken.items())[:5])
    return [f"rows whose foreign key refers to no row: {named}"]


def answer(request: dict[str, Any], files: list[int], limits: Limits) -> dict[str, Any]:
    """Counts and warnings, or `refused` with the end of a sentence about the file."""
    clock = DeadlineClock()
    clock.start(request["deadline_s"])
    try:
        return inspect(files[0], limits, clock)
    except FileRefusedError as error:
        return {"refused": str(error)}
    except (apsw.Error, MemoryError, UnicodeDecodeError) as error:
        try:
            failure = classify_error(error)
        except UnusableDatabaseError as unusable:
            return {"refused": f"is damaged, encrypted or no SQLite database: {unusable}"}
        if failure.outcome == "timeout":
            return {"refused": f"could not be checked within {request['deadline_s']} s"}
        return {"refused": f"cannot be read: {failure.message}"}


if __name__ == "__main__":
    serve_once(answer, writes=False)
