"""A connection that can only read: immutable file, allow-list, limits, deadline."""

import time
from urllib.parse import quote

import apsw

from services.sandbox.authorizer import Gate
from services.sandbox.limits import Limits


class Clock:
    """The deadline that SQLite's progress handler looks at."""

    def __init__(self) -> None:
        self.end = float("inf")

    def start(self, seconds: float) -> None:
        """Begin a budget of `seconds` now."""
        self.end = time.monotonic() + seconds

    def over(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() > self.end

    def check(self) -> None:
        """Raise what SQLite raises when its progress handler says stop."""
        if self.over():
            raise apsw.InterruptError("deadline")


def set_limits(connection: apsw.Connection, limits: Limits) -> None:
    """SQLite's own limits: value and statement size, depth, compound terms, no attached files, no threads."""
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, limits.value_bytes)
    connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, limits.sql_bytes + 100_000)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    connection.limit(apsw.SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth)
    connection.limit(apsw.SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_terms)
    connection.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.like_pattern_bytes)
    connection.limit(apsw.SQLITE_LIMIT_TRIGGER_DEPTH, 1)
    connection.limit(apsw.SQLITE_LIMIT_WORKER_THREADS, 0)


def harden(connection: apsw.Connection) -> None:
    """Switch off what no query needs; `"text"` in double quotes is an identifier unless `quoted_strings` says so."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    quoted_strings(connection, False)


def quoted_strings(connection: apsw.Connection, allowed: bool) -> None:
    """Whether an unknown name in double quotes is read as a string, as SQLite does by default."""
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, int(allowed))


class ReadConnection:
    """One open database and its walls; `number` tells it from others that were open in this process.

    Raises apsw.Error when the file is not a sound database.
    """

    def __init__(self, path: str, limits: Limits, clock: Clock, number: int = 0) -> None:
        self.number = number
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        uri = f"file:{quote(path)}?mode=ro&immutable=1"
        self.sqlite = apsw.Connection(uri, flags=flags, statementcachesize=0)
        self.gate = Gate()
        self.prepare(limits, clock)

    def prepare(self, limits: Limits, clock: Clock) -> None:
        """Everything between opening and the first query; the authorizer is last, for it forbids the rest."""
        self.sqlite.set_progress_handler(clock.over, limits.progress_steps)
        harden(self.sqlite)
        for pragma in ("query_only=1", "temp_store=2", "mmap_size=0"):
            self.sqlite.execute(f"PRAGMA {pragma}").fetchall()
        tables = self.names("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        modules = self.names("SELECT name FROM pragma_module_list")
        set_limits(self.sqlite, limits)
        self.sqlite.authorizer = self.gate.reading(tables, modules)

    def names(self, sql: str) -> frozenset[str]:
        """Names that a query of ours gives, in lower case, without those that are not UTF-8: no SQL can say them."""
        found: set[str] = set()
        rows = self.sqlite.execute(sql)
        while True:
            try:
                found.add(str(next(rows)[0]).lower())
            except UnicodeDecodeError:
                continue
            except StopIteration:
                return frozenset(found)

    def close(self) -> None:
        """Let go of the file."""
        self.sqlite.close(True)
