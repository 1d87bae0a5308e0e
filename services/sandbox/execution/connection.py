"""A connection that can only read: immutable file, authorizer, limits, deadline."""

import os
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import quote

import apsw

from services.sandbox.execution.authorizer import Authorizer
from services.sandbox.execution.limits import Limits

UNIX_EPOCH_MS = 210_866_760_000_000  # 1970-01-01 in the milliseconds of SQLite's Julian days
# Linear on any text: the possessive ++ and the bounds on names leave nothing to try again.
COLLATE = re.compile(
    r"""\bCOLLATE\s++(?:"([^"]{0,200})"|'([^']{0,200})'|`([^`]{0,200})`|\[([^\]]{0,200})\]|(\w+))""", re.IGNORECASE
)


class ObservedClock(apsw.VFS):
    """SQLite's file system with a clock that can be held and that records whether it was read.

    A result depends on the moment exactly when SQLite read the time while it ran, however the SQL expresses it:
    `date('now')`, `julianday()`, CURRENT_TIMESTAMP, or a view with one of them.
    """

    NAME = "sense-wall-time"

    def __init__(self) -> None:
        super().__init__(self.NAME, "")
        self.held: int | None = None
        self.was_read = False

    def hold(self, now_ms: int | None) -> None:
        """Set the time, in milliseconds since 1970; None lets it run."""
        self.held, self.was_read = now_ms, False

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Resolves links itself: APSW takes SQLite's "there was a link" for an error."""
        return os.path.realpath(name)

    def xCurrentTimeInt64(self) -> int:  # noqa: N802
        self.was_read = True
        return UNIX_EPOCH_MS + (time.time_ns() // 1_000_000 if self.held is None else self.held)


@cache
def observed_clock() -> ObservedClock:
    return ObservedClock()


@cache
def built_in_collations() -> frozenset[str]:
    """From an empty database: the list of any other includes names that its schema only mentions."""
    return frozenset(str(name).lower() for _, name in apsw.Connection(":memory:").execute("PRAGMA collation_list"))


def foreign_collations(sqlite: apsw.Connection) -> list[str]:
    found: dict[str, str] = {}
    rows = sqlite.execute("SELECT sql FROM sqlite_master WHERE sql LIKE '%collate%'")
    while True:
        try:
            text = str(next(rows)[0])
        except UnicodeDecodeError:
            continue
        except StopIteration:
            return [name for key, name in found.items() if key not in built_in_collations()]
        for parts in COLLATE.findall(text):
            name = "".join(parts)
            found.setdefault(name.lower(), name)


def register_collations(
    sqlite: apsw.Connection, names: list[str], compare: Callable[[str, str], int] | None = None
) -> None:
    """Define these collations, so that tables that name them can be read.

    Without `compare` the first comparison fails, as it would in SQLite: no order is invented.
    """
    for name in names:
        sqlite.create_collation(name, compare or refuse_collation(name))


def refuse_collation(name: str) -> Callable[[str, str], int]:
    def refuse(_one: str, _other: str) -> int:
        raise apsw.SQLError(f"no such collation sequence: {name}: only the program that wrote the database has it")

    return refuse


class DeadlineClock:
    """The deadline that SQLite's progress handler checks."""

    def __init__(self) -> None:
        self.end = float("inf")

    def start(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def over(self) -> bool:
        return time.monotonic() > self.end

    def check(self) -> None:
        """Raises apsw.InterruptError, as SQLite does when its progress handler says stop."""
        if self.over():
            raise apsw.InterruptError("deadline")


def set_limits(connection: apsw.Connection, limits: Limits) -> None:
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, limits.value_bytes)
    # room for what the sandbox wraps around a text (EXPLAIN, WITH)
    connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, limits.sql_bytes + 100_000)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    connection.limit(apsw.SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth)
    connection.limit(apsw.SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_terms)
    connection.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.like_pattern_bytes)
    connection.limit(apsw.SQLITE_LIMIT_TRIGGER_DEPTH, 1)
    connection.limit(apsw.SQLITE_LIMIT_WORKER_THREADS, 0)


def harden(connection: apsw.Connection) -> None:
    """Switch off what no query needs, strings in double quotes too (see `allow_quoted_strings`)."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    allow_quoted_strings(connection, False)


def allow_quoted_strings(connection: apsw.Connection, allowed: bool) -> None:
    """Set whether an unknown name in double quotes is a string, which is SQLite's default."""
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, int(allowed))


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def fetch_all(sqlite: apsw.Connection, sql: str, *values: str | int) -> list[Any]:
    return sqlite.execute(sql, values).fetchall()


class ReadConnection:
    """One open database. `number` identifies it among all that this process has opened.

    Raises apsw.Error when the file is not a sound database.
    """

    def __init__(
        self, path: str, limits: Limits, clock: DeadlineClock, number: int = 0, *, size: int = 0, vfs: str | None = None
    ) -> None:
        self.path, self.limits, self.clock, self.number, self.size = path, limits, clock, number, size
        self._observed: ReadConnection | None = None
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        # immutable: SQLite looks for no journal or log beside the file
        uri = f"file:{quote(path)}?mode=ro&immutable=1"
        self.sqlite = apsw.Connection(uri, flags=flags, vfs=vfs, statementcachesize=0)
        # on the observed connection date functions may run
        self.authorizer = Authorizer(watch_dates=vfs is None)
        self.prepare(limits, clock)

    def prepare(self, limits: Limits, clock: DeadlineClock) -> None:
        self.sqlite.set_progress_handler(clock.over, limits.progress_steps)
        harden(self.sqlite)
        for pragma in ("query_only=1", "temp_store=2", "mmap_size=0"):
            self.sqlite.execute(f"PRAGMA {pragma}").fetchall()
        tables = self.names("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        modules = self.names("SELECT name FROM pragma_module_list")
        self.foreign = foreign_collations(self.sqlite)
        register_collations(self.sqlite, self.foreign)
        set_limits(self.sqlite, limits)
        # last, because it forbids all the steps above
        self.sqlite.authorizer = self.authorizer.reading(tables, modules)

    def names(self, sql: str) -> frozenset[str]:
        """Names in lower case, without those that are not UTF-8: no SQL can name them."""
        found: set[str] = set()
        rows = self.sqlite.execute(sql)
        while True:
            try:
                found.add(str(next(rows)[0]).lower())
            except UnicodeDecodeError:
                continue
            except StopIteration:
                return frozenset(found)

    @property
    def longest(self) -> int:
        # no value is larger than its file
        return max(self.limits.value_bytes, min(self.size, self.limits.stored_value_bytes))

    def observed(self) -> "ReadConnection":
        """The same file behind `ObservedClock`, for statements with date functions; others are not slowed down."""
        if self._observed is None:
            vfs = observed_clock().NAME
            self._observed = ReadConnection(self.path, self.limits, self.clock, self.number, size=self.size, vfs=vfs)
        return self._observed

    def close(self) -> None:
        if self._observed is not None:
            self._observed.close()
        self.sqlite.close(True)
