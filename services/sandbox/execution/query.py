"""What the child does for one statement: run it, compare its result, or only compile it."""

import hashlib
import json
import re
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import apsw

from services.sandbox.execution.connection import DeadlineClock, ReadConnection, allow_quoted_strings, observed_clock
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.outcomes import Failure, MultiStatementError, classify_error
from services.sandbox.execution.sql_text import first_words, is_blank
from services.sandbox.judging.comparison import Comparison, ComparisonRule, ComparisonTarget, Row, encode, shown_cell
from shared.sql.tokens import tokens

HINT_START, HINT_END = 'no such column: "', '" - should this be a string literal'
MAX_FALLBACKS = 16  # each one compiles the text again


def suggests_string(message: str) -> bool:
    return suggested_string(message) is not None


def suggested_string(message: str) -> str | None:
    begin, end = message.find(HINT_START) + len(HINT_START), message.rfind(HINT_END)
    return message[begin:end] if len(HINT_START) <= begin <= end else None


def find_string_fallbacks(sqlite: apsw.Connection, sql: str, message: str) -> list[str]:
    """The names that no table has, in order and without quotes; the first is in `message`.

    Each is turned into a string and the text compiled (not run) again with the fallback off, until it compiles. 213 of
    the 1,034 golds of Spider's dev set need the fallback; in a model's answer it often hides a misspelt column.
    """
    found: list[str] = []
    while (name := suggested_string(message)) is not None and len(found) < MAX_FALLBACKS:
        if name in found:
            break
        found.append(name)
        sql = replace_with_string(sql, name)
        message = compile_error(sqlite, sql)
    return found


def replace_with_string(sql: str, name: str) -> str:
    literal = "'" + name.replace("'", "''") + "'"
    # without text in single quotes a plain replacement hits names only
    if "'" not in sql and '"' not in name:
        return sql.replace(f'"{name}"', literal)
    return "".join(
        literal if kind == "quoted" and text[0] == '"' and text[1:-1].replace('""', '"') == name else text
        for kind, text in tokens(sql)
    )


def compile_error(sqlite: apsw.Connection, sql: str) -> str:
    """SQLite's complaint about the text, empty if there is none. Nothing runs."""
    cursor = sqlite.cursor()
    # a trace that returns False stops the statement before it runs
    cursor.exec_trace = lambda *_: False
    try:
        cursor.execute(sql)
    except apsw.ExecTraceAbort:
        return ""
    except (apsw.Error, MemoryError) as error:
        return str(error)
    return ""


CHUNK_BYTES = 64_000_000  # bound on the rows read between two checks of the caps, were every cell as large as can be
CHUNK_ROWS = 64
TOO_BIG_MESSAGE = "string or blob too big"
WIDE_COLUMNS = 16  # a row this wide may be large by itself, so its size is checked before it is copied


class DateFunctionError(Exception):
    """The statement has date functions and must run where reads of the clock are observed."""


@dataclass
class PartialResult:
    """What has been read of a result."""

    rows: list[Row] = field(default_factory=list)
    encoded: list[bytes] = field(default_factory=list)
    bytes: int = 0
    columns: list[str] = field(default_factory=list)
    statement: str = ""
    failure: Failure | None = None
    capped: bool = False


class Query:
    """One SQL text with its budgets, run once. `request` comes from `ExecutionRequest.message`."""

    def __init__(
        self, connection: ReadConnection, clock: DeadlineClock, limits: Limits, request: dict[str, Any]
    ) -> None:
        self.connection, self.clock, self.limits = connection, clock, limits
        self.plain = connection
        self.now: int | None = request.get("now")
        self.read_clock = False
        self.longest = limits.value_bytes
        self.sql: str = request["sql"]
        self.keep_rows: int = request["keep_rows"]
        self.rule = ComparisonRule(**request["rule"]) if request.get("rule") else None
        self.target = ComparisonTarget(**request["target"]) if request.get("target") else None
        self.leave_target = bool(request.get("leave_target"))
        self.with_marks: bool = request.get("with_marks", False)
        self.only_wrong: bool = request.get("only_wrong", False)
        self.repeat: int = request.get("repeat", 0)
        self.text_errors = self.rule.text_errors if self.rule else limits.text_errors
        self.double_quoted_strings: list[str] = []

    def run(self) -> dict[str, Any]:
        """Raises UnusableDatabaseError for a file that is not sound."""
        began = time.perf_counter()
        reply = self.reply(self.read())
        reply["elapsed_ms"] = round((time.perf_counter() - began) * 1000, 3)
        if self.repeat and reply["outcome"] in ("ok", "empty"):
            reply["timings"] = self.timed()
        return reply

    def timed(self) -> list[tuple[float, float]]:
        """(seconds to the first row, seconds to the last) for each repeated run; fewer when the deadline comes."""
        found: list[tuple[float, float]] = []
        sqlite = self.plain.sqlite
        allow_quoted_strings(sqlite, bool(self.double_quoted_strings))
        sqlite.limit(apsw.SQLITE_LIMIT_LENGTH, self.longest)
        try:
            while len(found) < self.repeat:
                began = time.perf_counter()
                cursor = sqlite.cursor().execute(self.sql)
                first = time.perf_counter()
                cursor.fetchall()
                found.append((first - began, time.perf_counter() - began))
        except (apsw.Error, MemoryError, UnicodeDecodeError):
            return found
        finally:
            allow_quoted_strings(sqlite, False)
            sqlite.limit(apsw.SQLITE_LIMIT_LENGTH, self.limits.value_bytes)
        return found

    def reply(self, result: PartialResult) -> dict[str, Any]:
        if result.failure and not result.capped:
            failure = result.failure
            return {"outcome": failure.outcome, "message": failure.message, **self.notes(failure)}
        compared = {} if result.failure else self.compared(result)
        shown = result.rows[: 0 if self.only_wrong and compared.get("matched") else self.keep_rows]
        most = self.limits.max_cell_chars
        reply: dict[str, Any] = {"outcome": "ok" if result.rows else "empty", "row_count": len(result.rows)}
        reply |= {"columns": result.columns, "rows": [[shown_cell(cell, most) for cell in row] for row in shown]}
        if (
            result.capped
            or len(result.rows) > len(shown)
            or any(isinstance(cell, str | bytes) and len(cell) > most for row in shown for cell in row)
        ):
            reply["truncated"] = True
        if result.failure:
            reply |= {"outcome": result.failure.outcome, "message": result.failure.message}
        return {**reply, **compared, **self.notes(result.failure)}

    def notes(self, failure: Failure | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.double_quoted_strings:
            found["double_quoted_strings"] = self.double_quoted_strings
        if self.read_clock:
            found["clock"] = True
        if self.plain.foreign:
            found["foreign"] = True
        if failure is not None and failure.sandbox_limited:
            found["sandbox_limited"] = True
        return found

    def compared(self, result: PartialResult) -> dict[str, Any]:
        if self.rule is None:
            return {}
        found: dict[str, Any] = {}
        try:
            comparison = Comparison(result.rows, result.encoded, len(result.columns), self.rule, self.clock.check)
            found["fingerprint"] = comparison.fingerprint
            if self.leave_target:
                found |= comparison.leave_target(with_marks=self.with_marks)
            if self.target is not None:
                found["matched"] = comparison.matches(self.target, self.limits.max_arrangements)
                found["wants_marks"] = comparison.wants_marks
        except (apsw.InterruptError, MemoryError):
            found["matched"] = None
        return found

    def read(self) -> PartialResult:
        """Run the SQL; if SQLite takes a name in double quotes for a string, run it again with such strings allowed."""
        result = self.attempt(self.sql)
        if result.failure is None or not suggests_string(result.failure.message):
            return self.decoded(result)
        self.double_quoted_strings = find_string_fallbacks(self.connection.sqlite, self.sql, result.failure.message)
        allow_quoted_strings(self.connection.sqlite, True)
        try:
            return self.decoded(self.attempt(self.sql))
        finally:
            allow_quoted_strings(self.connection.sqlite, False)

    def decoded(self, result: PartialResult) -> PartialResult:
        """The same result with invalid UTF-8 marked or dropped, where the policy allows it."""
        failed = result.failure is not None and result.failure.outcome == "decode_error"
        if not failed or self.text_errors == "strict" or not result.columns:
            return result
        width = len(result.columns)
        inner = result.statement.rstrip().rstrip(";")
        names = ", ".join(f"c{n}" for n in range(width))
        cells = ", ".join(f"typeof(c{n}), iif(typeof(c{n}) = 'text', CAST(c{n} AS BLOB), c{n})" for n in range(width))
        # the line break keeps a comment at the end of the statement from swallowing the parenthesis
        again = self.attempt(f"WITH sandbox_rows({names}) AS ({inner}\n) SELECT {cells} FROM sandbox_rows", pairs=True)
        # the statement cannot stand inside WITH, so the first failure holds
        if again.failure is not None and again.failure.outcome == "syntax_error":
            return result
        again.columns = result.columns
        return again

    def attempt(self, sql: str, *, pairs: bool = False) -> PartialResult:
        """One complete run. With `pairs`, cells come as (type, bytes) and text is decoded here.

        Runs again with a higher bound when it met a value beyond the usual one and the file may store such values.
        """
        result = self.run_once(sql, pairs)
        too_big = result.failure is not None and result.failure.message.startswith(TOO_BIG_MESSAGE)
        if not too_big or self.connection.longest <= self.longest:
            return result
        self.longest = self.connection.longest
        return self.run_once(sql, pairs)

    def run_once(self, sql: str, pairs: bool) -> PartialResult:
        try:
            return self.run_on(sql, pairs)
        except DateFunctionError:
            # the observed connection is another one and needs the same setting
            quoted = bool(self.connection.sqlite.config(apsw.SQLITE_DBCONFIG_DQS_DML, -1))
        try:
            self.connection = self.connection.observed()
            allow_quoted_strings(self.connection.sqlite, quoted)
            return self.run_on(sql, pairs)
        except (apsw.Error, MemoryError) as error:
            return PartialResult(failure=classify_error(error))
        finally:
            if self.connection is not self.plain:
                allow_quoted_strings(self.connection.sqlite, False)
                self.connection = self.plain

    def run_on(self, sql: str, pairs: bool) -> PartialResult:
        """Raises DateFunctionError, before anything ran, when the statement needs the observed clock."""
        result = PartialResult()
        sqlite, authorizer = self.connection.sqlite, self.connection.authorizer
        authorizer.forget()
        observed = self.connection is not self.plain
        if observed:
            observed_clock().hold(self.now)
        if larger := self.longest > self.limits.value_bytes:
            sqlite.limit(apsw.SQLITE_LIMIT_LENGTH, self.longest)
        cursor = sqlite.cursor()
        cursor.exec_trace = lambda cursor, statement, _bindings: self.begin(result, sql, cursor, statement)
        try:
            self.clock.check()
            self.drain(result, cursor.execute(sql), pairs)
            if not result.statement:
                result.failure = Failure("syntax_error", "there is no statement in the SQL")
        except DateFunctionError:
            raise
        except Exception as error:
            result.failure = classify_error(error, authorizer.denied)
            if authorizer.by_chance:  # SQLite would run it, with another result each time
                result.failure = replace(result.failure, sandbox_limited=True)
        finally:
            with suppress(apsw.Error):
                cursor.close(True)
            if larger:
                sqlite.limit(apsw.SQLITE_LIMIT_LENGTH, self.limits.value_bytes)
            self.read_clock |= observed and observed_clock().was_read
        return result

    def begin(self, result: PartialResult, sql: str, cursor: apsw.Cursor, statement: str) -> bool:
        """apsw calls this before a statement runs: note its columns, refuse a second statement."""
        if result.statement or is_blank(statement):
            return True
        if len(statement) < len(sql) and not is_blank(rest := sql[len(statement) :]):
            raise MultiStatementError(first_words(rest))
        if self.connection.authorizer.dates:
            raise DateFunctionError
        result.statement = statement
        result.columns = [str(column[0]) for column in cursor.get_description()]
        return True

    def drain(self, result: PartialResult, cursor: apsw.Cursor, pairs: bool) -> None:
        limits = self.limits
        too_large = Failure("byte_limit", f"the result is larger than {limits.max_bytes} bytes", sandbox_limited=True)
        size = max(1, min(CHUNK_ROWS, CHUNK_BYTES // (self.longest * max(1, len(result.columns)))))
        while chunk := list(islice(cursor, size)):
            rows = [self.paired(row) for row in chunk] if pairs else chunk
            if len(result.columns) >= WIDE_COLUMNS:
                raw = sum(len(cell) for row in rows for cell in row if isinstance(cell, str | bytes))
                if raw > limits.max_bytes:
                    # one row stays, because `Execution.capped` needs one
                    result.rows, result.capped, result.failure = result.rows or rows[:1], True, too_large
                    return
            encoded = encode(rows)
            result.rows += rows
            result.encoded += encoded
            result.bytes += sum(map(len, encoded))
            if len(result.rows) > limits.max_rows:
                message = f"the result has more than {limits.max_rows} rows"
                result.failure = Failure("row_limit", message, sandbox_limited=True)
                del result.rows[limits.max_rows :]
            elif result.bytes > limits.max_bytes:
                result.failure = too_large
            if result.failure is not None:
                result.capped = True
                return
            if len(chunk) < size:
                return
            self.clock.check()

    def paired(self, raw: tuple[Any, ...]) -> Row:
        pairs = zip(raw[::2], raw[1::2], strict=True)
        return tuple(value.decode("utf-8", self.text_errors) if kind == "text" else value for kind, value in pairs)


MAX_GOLDS = 512
Reply = dict[str, Any]


class GoldComparer:
    """Runs a gold and its candidate in one statement and compares them in the child.

    For a question with one candidate this saves a message, and on test suites half of the file openings. Golds' replies
    are kept by connection and text because datasets hold many golds twice.
    """

    def __init__(self, clock: DeadlineClock, limits: Limits) -> None:
        self.clock, self.limits = clock, limits
        self._known: OrderedDict[tuple[int, str, str], Reply] = OrderedDict()

    def run(self, connection: ReadConnection, gold: dict[str, Any], *, with_marks: bool = False) -> Reply:
        """Return the gold's reply; a gold that is not in the cache gets a deadline to itself."""
        key = (connection.number, gold["sql"], str(gold["rule"]))
        if with_marks or key not in self._known:
            self.clock.start(gold["deadline_s"])
            request = {**gold, "leave_target": True, "with_marks": with_marks}
            reply = Query(connection, self.clock, self.limits, request).run()
            if reply.get("clock"):  # true of this moment alone
                return reply
            self._known[key] = reply
            while len(self._known) > MAX_GOLDS:
                self._known.popitem(last=False)
        return self._known[key]

    def answer(self, connection: ReadConnection, statement: dict[str, Any]) -> Reply:
        """The candidate's reply with the gold's in it; the candidate does not run when the gold has no result."""
        gold = self.run(connection, statement["gold"])
        if gold["outcome"] not in ("ok", "empty"):
            return {"outcome": "not_run", "gold": gold}
        reply = self._candidate(connection, statement, gold)
        if reply.get("wants_marks"):
            gold = self.run(connection, statement["gold"], with_marks=True)
            reply = self._candidate(connection, statement, gold)
        return {**reply, "gold": gold}

    def _candidate(self, connection: ReadConnection, statement: dict[str, Any], gold: Reply) -> Reply:
        target = {
            "fingerprint": gold.get("fingerprint", ""),
            "row_count": gold["row_count"],
            "width": len(gold["columns"]),
            "marks": gold.get("marks", []),
            "keyed": gold.get("keyed"),
        }
        self.clock.start(statement["own_s"])
        return Query(connection, self.clock, self.limits, {**statement, "target": target}).run()


Instruction = tuple[Any, ...]
OPCODE, P3, P4 = 1, 4, 5
POINTER = re.compile(r"\b(vtab:)[0-9A-Fa-fx]+")
# EXPLAIN shows the bytes of no blob: programs with one look the same.
OPAQUE_OPCODES = frozenset({"Blob"})


def compile_program(connection: ReadConnection, sql: str) -> dict[str, Any]:
    """Compile one text with EXPLAIN, behind the same authorizer and limits as a query; nothing else runs.

    The hash identifies a query: two texts with one bytecode program are the same query. EXPLAIN QUERY PLAN would not
    do: MAX and MIN of a column have the same plan.
    """
    try:
        instructions = explain(connection, sql)
    except (apsw.Error, MemoryError, UnicodeDecodeError) as error:
        failure = classify_error(error, connection.authorizer.denied)
        return {"outcome": failure.outcome, "message": failure.message}
    if any(row[OPCODE] in OPAQUE_OPCODES for row in instructions):
        return {"outcome": "ok", "program": None}
    text = json.dumps([normalise_instruction(row) for row in instructions], default=str)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return {"outcome": "ok", "program": digest}


def explain(connection: ReadConnection, sql: str) -> list[Instruction]:
    """EXPLAIN's rows. Double-quoted names that no column has are strings, as when the query runs."""
    connection.authorizer.denied = None
    try:
        return list(connection.sqlite.cursor().execute(f"EXPLAIN {sql}"))
    except apsw.Error as error:
        if not suggests_string(str(error)):
            raise
    allow_quoted_strings(connection.sqlite, True)
    try:
        return list(connection.sqlite.cursor().execute(f"EXPLAIN {sql}"))
    finally:
        allow_quoted_strings(connection.sqlite, False)


def normalise_instruction(row: Instruction) -> list[Any]:
    """Address, opcode, p1 to p5.

    Left out are the comment, which only some builds of SQLite write, the schema cookie and generation in Transaction,
    which depend on when the file was opened, and pointers of virtual tables.
    """
    kept = list(row[:7])
    if kept[OPCODE] == "Transaction":
        kept[P3] = kept[P4] = None
    elif isinstance(kept[P4], str):
        kept[P4] = POINTER.sub(r"\1", kept[P4])
    return kept
