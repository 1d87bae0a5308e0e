"""The child that writes databases, one after another.

Start: `python -m services.sandbox.building.child LIMITS_JSON PROGRESS_FD FILES_FD`. Only CREATE TABLE, CREATE INDEX and
INSERT run, in one transaction on an empty file. The clock stands still and random functions are refused, so the same
script gives the same bytes.
"""

from itertools import islice
from typing import Any

import apsw

from services.sandbox.execution.authorizer import Authorizer
from services.sandbox.execution.child_loop import serve_requests
from services.sandbox.execution.connection import DeadlineClock, harden, set_limits
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.outcomes import classify_error
from services.sandbox.execution.protocol import given_path
from services.sandbox.execution.sql_text import BUILD_STATEMENTS, first_words, is_blank
from shared.sql.tokens import tokens

JULIAN_DAY_2000 = 2_451_544.5
VFS_NAME = "still"


class ScriptRefusedError(Exception):
    """The script cannot be run; the message is shown to the user."""


class FrozenClock(apsw.VFS):
    """The usual file system with a clock that always shows 1 January 2000."""

    def __init__(self) -> None:
        super().__init__(VFS_NAME, "")

    def xCurrentTime(self) -> float:  # noqa: N802 (apsw's name)
        """Days since noon in Greenwich on 24 November 4714 B.C."""
        return JULIAN_DAY_2000

    def xCurrentTimeInt64(self) -> int:  # noqa: N802 (apsw's name)
        return int(JULIAN_DAY_2000 * 86_400_000)


def check_statement(name: str, sql: str) -> None:
    words = islice((text.upper() for kind, text in tokens(sql) if kind == "word"), 3)
    if is_blank(sql):
        raise ScriptRefusedError(f"{name} is empty")
    if not BUILD_STATEMENTS.match(" ".join(words)):
        raise ScriptRefusedError(f"{name} is refused: only CREATE TABLE, CREATE INDEX and INSERT are run")


# Registers the file system under its name; it must stay alive as long as the process.
FROZEN_CLOCK = FrozenClock()


class DatabaseWriter:
    """One build on one connection; nothing of it is left for the next."""

    def __init__(self, path: str, limits: Limits, clock: DeadlineClock) -> None:
        self.limits = limits
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        self.sqlite = apsw.Connection(path, flags=flags, vfs=VFS_NAME, statementcachesize=0)
        self.authorizer = Authorizer()
        self.guard = self.authorizer.building()
        self.sqlite.set_progress_handler(clock.over, limits.progress_steps)
        harden(self.sqlite)
        pages = limits.build_file_bytes // 4096
        settings = ("page_size=4096", "encoding='UTF-8'", "auto_vacuum=0", "journal_mode=MEMORY", "temp_store=2")
        for setting in (*settings, "synchronous=0", "mmap_size=0", f"max_page_count={pages}", "foreign_keys=0"):
            self.sqlite.execute(f"PRAGMA {setting}").fetchall()
        set_limits(self.sqlite, limits)
        self.sqlite.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, limits.build_script_bytes)
        for function, count in (("random", 0), ("randomblob", 1)):
            self.sqlite.create_scalar_function(function, refuse_chance, count)

    def run(self, request: dict[str, Any]) -> None:
        self.sqlite.execute("BEGIN")
        for part in ("ddl", "inserts"):
            for number, sql in enumerate(request[part], 1):
                self.statement(f"{part} statement {number} ({first_words(sql) or 'blank'})", sql)
        self.check_sizes()
        # foreign keys are off while statements run, so that rows may come in any order
        self.check_foreign_keys()
        self.sqlite.execute("COMMIT")
        self.sqlite.limit(apsw.SQLITE_LIMIT_ATTACHED, 1)  # VACUUM attaches the copy that it makes
        self.sqlite.execute("VACUUM")

    def statement(self, name: str, sql: str) -> None:
        check_statement(name, sql)
        seen: list[str] = []

        def begin(_cursor: apsw.Cursor, statement: str, _bindings: Any) -> bool:
            if not seen and not is_blank(sql[len(statement) :]):
                raise ScriptRefusedError(f"{name} is more than one statement")
            seen.append(statement)
            return True

        cursor = self.sqlite.cursor()
        cursor.exec_trace = begin
        self.authorizer.denied = None
        self.sqlite.authorizer = self.guard
        try:
            cursor.execute(sql).fetchall()
        except (apsw.Error, MemoryError, ValueError) as error:
            raise ScriptRefusedError(f"{name} fails: {self.explain(error)}") from error
        finally:
            self.sqlite.authorizer = None
        if self.sqlite.total_changes() > self.limits.build_rows:
            raise ScriptRefusedError(f"{name} goes past {self.limits.build_rows} rows in one database")

    def explain(self, error: Exception) -> str:
        if isinstance(error, apsw.FullError):
            return f"the database would be larger than {self.limits.build_file_bytes} bytes"
        known = isinstance(error, apsw.InterruptError | apsw.AuthError | apsw.NoMemError | MemoryError)
        return classify_error(error, self.authorizer.denied).message if known else str(error)

    def check_sizes(self) -> None:
        count = self.sqlite.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchall()[0][0]
        if not count:
            raise ScriptRefusedError("the script creates no table")
        if int(str(count)) > self.limits.build_tables:
            raise ScriptRefusedError(
                f"the script creates {count} tables; at most {self.limits.build_tables} are allowed"
            )

    def check_foreign_keys(self) -> None:
        try:
            broken = self.sqlite.execute("PRAGMA foreign_key_check").fetchall()
        except apsw.SQLError as error:
            raise ScriptRefusedError(f"foreign keys cannot be checked: {error}") from error
        if broken:
            table, row, parent, _ = broken[0]
            where = f"row {row}" if row is not None else "a row"
            raise ScriptRefusedError(f"table {table} breaks a foreign key: {where} refers to no row of table {parent}")


def refuse_chance(*_arguments: Any) -> None:
    raise apsw.AuthError("not authorized to use random functions: a script gives the same database each time")


def answer(request: dict[str, Any], files: list[int], limits: Limits) -> dict[str, Any]:
    """Return `{}` when the file is complete, otherwise `refused` with a reason."""
    clock, builder = DeadlineClock(), None
    clock.start(request["deadline_s"])
    try:
        builder = DatabaseWriter(given_path(files[0]), limits, clock)
        builder.run(request)
    except ScriptRefusedError as error:
        return {"refused": str(error)}
    except (apsw.Error, MemoryError) as error:
        return {"refused": f"the database cannot be written: {error}"}
    finally:
        if builder is not None:
            builder.sqlite.close(True)
    return {}


if __name__ == "__main__":
    serve_requests(answer, writes=True)
