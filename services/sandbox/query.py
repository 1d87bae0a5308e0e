"""One query on one read connection: what the child does for each request."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import apsw

from services.sandbox.columns import Target, agrees, marks
from services.sandbox.connection import Clock, ReadConnection, quoted_strings
from services.sandbox.limits import Limits
from services.sandbox.outcomes import QUOTED_STRING, Failure, MultiStatementError, classify
from services.sandbox.results import Cell, Tally, view_cell
from services.sandbox.text import first_words, only_blank

CLOCK_EVERY = 256


@dataclass
class Reading:
    """What has been seen of a result so far."""

    tally: Tally
    columns: list[str] = field(default_factory=list)
    view: list[list[Any]] = field(default_factory=list)
    statement: str = ""
    failure: Failure | None = None
    capped: bool = False
    cut_cell: bool = False


class Query:
    """A SQL text with its budgets, run once."""

    def __init__(self, connection: ReadConnection, clock: Clock, limits: Limits, request: dict[str, Any]) -> None:
        self.connection, self.clock, self.limits = connection, clock, limits
        self.sql: str = request["sql"]
        self.keep_rows: int = request["keep_rows"]
        self.target = Target(**request["target"]) if request.get("target") else None
        self.hold = bool(request.get("marks")) or self.target is not None
        self.wants_marks = bool(request.get("marks"))
        self.dqs_fallback = False

    def run(self) -> dict[str, Any]:
        """The reply as the parent expects it. Raises UnusableDatabaseError for a file that is not sound."""
        began = time.perf_counter()
        reading = self.read()
        if reading.failure is None and not reading.tally.rows:
            outcome = "empty"
        else:
            outcome = reading.failure.outcome if reading.failure else "ok"
        reply = self.reply(outcome, reading)
        reply["elapsed_ms"] = round((time.perf_counter() - began) * 1000, 3)
        return reply

    def reply(self, outcome: str, reading: Reading) -> dict[str, Any]:
        """Columns, rows, hashes; hashes only where every row was seen."""
        complete = reading.failure is None
        shown = complete or reading.capped
        tally = reading.tally
        return {
            "outcome": outcome,
            "columns": reading.columns if shown else [],
            "rows": reading.view if shown else [],
            "row_count": tally.rows if shown else 0,
            "truncated": shown and (reading.capped or reading.cut_cell or tally.rows > len(reading.view)),
            "message": reading.failure.message if reading.failure else None,
            "ordered_hash": tally.ordered_hash() if complete else None,
            "bag_hash": tally.bag_hash() if complete else None,
            "dqs_fallback": self.dqs_fallback,
            **(self.compared(reading) if complete else {}),
        }

    def compared(self, reading: Reading) -> dict[str, Any]:
        """Marks of the columns, and whether the result is the target, where the request asks for them."""
        tally, width = reading.tally, len(reading.columns)
        found: dict[str, Any] = {}
        try:
            if self.wants_marks:
                found["marks"] = marks(tally.held or [], width)
            if self.target is not None:
                found["matched"] = self.matches(tally, width, self.target)
        except (apsw.InterruptError, MemoryError):
            found["matched"] = None
        return found

    def matches(self, tally: Tally, width: int, target: Target) -> bool | None:
        """Equal as it stands, or under another order of the columns; None when that could not be settled."""
        mine = tally.ordered_hash() if target.ordered else tally.bag_hash()
        if mine == target.hash:
            return True
        return agrees(tally.held or [], width, target, self.limits.max_arrangements, self.clock.check)

    def read(self) -> Reading:
        """Run; where SQLite suggests that a name in double quotes is a string, run again reading it so."""
        reading = self.attempt(self.sql)
        if reading.failure and QUOTED_STRING.search(reading.failure.message):
            quoted_strings(self.connection.sqlite, True)
            try:
                self.dqs_fallback = True
                reading = self.attempt(self.sql)
                return self.decoded(reading)
            finally:
                quoted_strings(self.connection.sqlite, False)
        return self.decoded(reading)

    def decoded(self, reading: Reading) -> Reading:
        """The same result with text that is not UTF-8 marked, where the policy says so."""
        failed = reading.failure is not None and reading.failure.outcome == "decode_error"
        if not failed or self.limits.text_errors == "strict" or not reading.columns:
            return reading
        width = len(reading.columns)
        inner = reading.statement.rstrip().rstrip(";")
        names = ", ".join(f"c{n}" for n in range(width))
        cells = ", ".join(f"typeof(c{n}), iif(typeof(c{n}) = 'text', CAST(c{n} AS BLOB), c{n})" for n in range(width))
        again = self.attempt(f"WITH sandbox_rows({names}) AS ({inner}\n) SELECT {cells} FROM sandbox_rows", pairs=True)
        if again.failure is not None and again.failure.outcome == "syntax_error":
            return reading
        again.columns = reading.columns
        return again

    def attempt(self, sql: str, *, pairs: bool = False) -> Reading:
        """One run from start to end. With `pairs`, cells come as (type, bytes) and text is decoded here."""
        reading = Reading(Tally(hold=self.hold))
        self.connection.gate.denied = None
        cursor = self.connection.sqlite.cursor()
        cursor.exec_trace = lambda cursor, statement, _bindings: self.begin(reading, sql, cursor, statement)
        try:
            self.clock.check()
            self.drain(reading, cursor.execute(sql), pairs)
            if not reading.statement:
                reading.failure = Failure("syntax_error", "there is no statement in the SQL")
        except Exception as error:
            reading.failure = classify(error, self.connection.gate.denied)
        finally:
            with suppress(apsw.Error):
                cursor.close(True)
        return reading

    def begin(self, reading: Reading, sql: str, cursor: apsw.Cursor, statement: str) -> bool:
        """Called by apsw before a statement runs: take its columns, refuse a second statement."""
        if reading.statement or only_blank(statement):
            return True
        rest = sql[len(statement) :]
        if not only_blank(rest):
            raise MultiStatementError(first_words(rest))
        reading.statement = statement
        reading.columns = [str(column[0]) for column in cursor.get_description()]
        return True

    def drain(self, reading: Reading, cursor: apsw.Cursor, pairs: bool) -> None:
        """Eat the rows until the end or a cap."""
        tally = reading.tally
        for raw in cursor:
            row = paired(raw) if pairs else raw
            if tally.rows >= self.limits.max_rows:
                reading.failure = Failure("row_limit", f"the result has more than {self.limits.max_rows} rows")
                break
            tally.add(row)
            if tally.rows <= self.keep_rows:
                self.show(reading, row)
            if tally.bytes > self.limits.max_bytes:
                reading.failure = Failure("byte_limit", f"the result is larger than {self.limits.max_bytes} bytes")
                break
            if tally.rows % CLOCK_EVERY == 0:
                self.clock.check()
        reading.capped = reading.failure is not None

    def show(self, reading: Reading, row: tuple[Cell, ...]) -> None:
        """Keep one row for people."""
        most = self.limits.max_cell_chars
        reading.view.append([view_cell(cell, most) for cell in row])
        reading.cut_cell = reading.cut_cell or any(isinstance(c, str | bytes) and len(c) > most for c in row)


def paired(raw: tuple[Any, ...]) -> tuple[Cell, ...]:
    """(type, value) pairs as cells; text comes as bytes and what is not UTF-8 in it is marked."""
    kinds, values = raw[::2], raw[1::2]
    return tuple(
        value.decode("utf-8", errors="replace") if kind == "text" else value
        for kind, value in zip(kinds, values, strict=True)
    )
