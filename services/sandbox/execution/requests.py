"""Requests to the sandbox, their executions, and the batches in which they travel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.sandbox.execution.database_files import FileIdentities, FileIdentity
from services.sandbox.execution.limits import Limits, checked_deadline
from services.sandbox.judging.comparison import ColumnMark, ComparisonRule, ComparisonTarget
from shared.contracts.records import Outcome, ResultView
from shared.errors import InvalidInputError

ShownCell = str | int | float | None


@dataclass(frozen=True)
class ExecutionRequest:
    """One SQL for one database. With a `rule` its result is fingerprinted; judging uses the fields after it.

    `leave_target` makes the run of a gold return what candidates are compared with; `target` makes a candidate's run
    compare. With `gold`, the child runs the gold first, with a separate deadline, and compares. `repeat` further runs
    are timed within the deadline. With `program`, the SQL is compiled and not run. `now_ms` is the time that date
    functions see, in milliseconds since 1970; None is the time of the run.
    """

    database: Path
    sql: str
    deadline_s: float | None = None
    keep_rows: int = 20
    rule: ComparisonRule | None = None
    leave_target: bool = False
    with_marks: bool = False
    target: ComparisonTarget | None = None
    only_wrong: bool = False
    gold: str | None = None
    gold_deadline_s: float = 0.0
    repeat: int = 0
    program: bool = False
    now_ms: int | None = None

    def message(self, deadline_s: float) -> dict[str, Any]:
        message: dict[str, Any] = {"sql": self.sql, "deadline_s": deadline_s, "keep_rows": self.keep_rows}
        if self.now_ms is not None:
            message["now"] = self.now_ms
        if self.rule is not None:
            message["rule"] = vars(self.rule)
            message |= {"leave_target": self.leave_target, "with_marks": self.with_marks}
        if self.target is not None:
            message |= {"target": vars(self.target), "only_wrong": self.only_wrong}
        if self.gold is not None:
            gold = {"sql": self.gold, "deadline_s": self.gold_deadline_s, "keep_rows": self.keep_rows}
            gold |= {"now": self.now_ms}
            message |= {"gold": {**gold, "rule": message.get("rule")}, "only_wrong": self.only_wrong}
            # the parent waits for both runs; `own_s` is left for the candidate
            message |= {"own_s": deadline_s, "deadline_s": deadline_s + self.gold_deadline_s}
        if self.repeat:
            message["repeat"] = self.repeat
        if self.program:
            message["program"] = True
        return message


@dataclass(frozen=True)
class Execution:
    """One run of one SQL. `rows` is a view for people; the fingerprint covers all rows, None unless all were read.

    `truncated`: the view lacks rows or parts of cells. `double_quoted_strings`: names in double quotes that no table
    has, read as strings. `matched` answers the target of a request: equal, not equal, or None if not settled
    (`wants_marks`: not with a target without marks). `gold` is the run of the request's gold. `timings`: seconds to the
    first and last row of each repeated run. `program`: a hash of the bytecode, if requested. `clock`: SQLite read the
    time, so another moment may give another result. `sandbox_limited`: a limit of the sandbox stopped the SQL where
    SQLite would have gone on, so this says nothing about the SQL. `foreign`: the database names a collation that SQLite
    lacks, so SQLite refuses more of its SQL.
    """

    outcome: Outcome
    columns: list[str] = field(default_factory=list)
    rows: list[list[ShownCell]] = field(default_factory=list)
    row_count: int = 0
    truncated: bool = False
    elapsed_ms: float = 0.0
    message: str | None = None
    fingerprint: str | None = None
    double_quoted_strings: list[str] = field(default_factory=list)
    marks: list[ColumnMark] = field(default_factory=list)
    keyed: str | None = None
    matched: bool | None = None
    wants_marks: bool = False
    gold: "Execution | None" = None
    timings: list[tuple[float, float]] = field(default_factory=list)
    program: str | None = None
    clock: bool = False
    sandbox_limited: bool = False
    foreign: bool = False

    @classmethod
    def from_reply(cls, reply: dict[str, Any]) -> "Execution":
        """A reply in an unknown form counts as `killed`."""
        try:
            gold = cls.from_reply(reply["gold"]) if reply.get("gold") else None
            return cls(**{**reply, "outcome": Outcome(reply["outcome"]), "gold": gold})
        except (TypeError, ValueError, KeyError):
            return cls(Outcome.KILLED, message="the sandbox's child gave an answer that cannot be read")

    @property
    def complete(self) -> bool:
        """Whether the SQL ran to its end and every row was read."""
        return self.outcome in (Outcome.OK, Outcome.EMPTY)

    @property
    def capped(self) -> bool:
        """Whether the SQL ran but returned more rows or bytes than the sandbox reads."""
        return self.outcome in (Outcome.ROW_LIMIT, Outcome.BYTE_LIMIT) and self.row_count > 0

    @property
    def all_null(self) -> bool:
        return (
            self.outcome is Outcome.OK and not self.truncated and all(cell is None for row in self.rows for cell in row)
        )

    def target(self) -> ComparisonTarget:
        """The gold's request must have set `leave_target`."""
        marks = tuple((bag, listed) for bag, listed in self.marks)
        return ComparisonTarget(self.fingerprint or "", self.row_count, len(self.columns), marks, self.keyed)

    def shown(self) -> dict[str, Any]:
        names = ("rows", "columns", "row_count", "truncated", "elapsed_ms", "message")
        return {"outcome": self.outcome.value, **{name: getattr(self, name) for name in names}}

    def view(self) -> ResultView:
        return ResultView(**{name: getattr(self, name) for name in ResultView.model_fields})


# Bounds of one message to a child.
MAX_BATCH_STATEMENTS = 32
MAX_BATCH_CHARS = 500_000


@dataclass
class StatementBatch:
    """Statements for one database; `places` holds the place of each among the distinct requests."""

    database: Path
    identity: FileIdentity
    places: list[int] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)
    chars: int = 0

    def add(self, place: int, statement: dict[str, Any]) -> None:
        self.places.append(place)
        self.statements.append(statement)
        self.chars += len(statement["sql"])

    def message(self) -> dict[str, Any]:
        path = str(self.database.absolute())
        return {"op": "query", "database": path, "identity": self.identity, "statements": self.statements}

    def without(self, *answered: int) -> "StatementBatch | None":
        gone = set(answered)
        left = [number for number in range(len(self.places)) if number not in gone]
        if not left:
            return None
        places, statements = [self.places[number] for number in left], [self.statements[number] for number in left]
        return StatementBatch(self.database, self.identity, places, statements)


class BatchPlan:
    """Distinct requests in order, and how their answers spread over all requests.

    Raises NotFoundError or InvalidInputError for an unusable database, deadline or row count.
    """

    def __init__(self, requests: Sequence[ExecutionRequest], limits: Limits, files: FileIdentities) -> None:
        self.limits, self.files = limits, files
        self.distinct: dict[ExecutionRequest, int] = {}
        self.spread = [self.distinct.setdefault(request, len(self.distinct)) for request in requests]
        self.answers: list[Execution | None] = [None] * len(self.distinct)

    def batches(self) -> list[StatementBatch]:
        """Batches in order; texts that need not reach a child are answered here."""
        found: list[StatementBatch] = []
        identities: dict[Path, FileIdentity] = {}
        for request, place in self.distinct.items():
            if request.keep_rows < 0:
                raise InvalidInputError(f"keep_rows is {request.keep_rows}; give 0 or more.")
            if request.database not in identities:
                identities[request.database] = self.files.identity(request.database)
            deadline = checked_deadline(self.limits.deadline_s if request.deadline_s is None else request.deadline_s)
            self.answers[place] = reject_unsendable(request.sql, self.limits)
            if self.answers[place] is not None:
                continue
            last = found[-1] if found and found[-1].database == request.database else None
            if last is None or len(last.places) >= MAX_BATCH_STATEMENTS or last.chars >= MAX_BATCH_CHARS:
                last = StatementBatch(request.database, identities[request.database])
                found.append(last)
            last.add(place, request.message(deadline))
        return found

    def results(self) -> list[Execution]:
        answers = [answer for answer in self.answers if answer is not None]
        assert len(answers) == len(self.answers)
        return [answers[place] for place in self.spread]


def reject_unsendable(sql: str, limits: Limits) -> Execution | None:
    """The outcome of a text that need not reach a child (too long, or not text that SQLite takes); otherwise None."""
    try:
        # ASCII needs no copy to count its bytes
        size = len(sql) if sql.isascii() else len(sql.encode())
    except UnicodeEncodeError:
        return Execution(Outcome.SYNTAX_ERROR, message="the SQL holds a character that is not valid Unicode")
    if size > limits.sql_bytes:
        message = f"the SQL has {size} bytes; at most {limits.sql_bytes} are run"
        return Execution(Outcome.BYTE_LIMIT, message=message, sandbox_limited=True)
    if "\x00" in sql:
        return Execution(Outcome.SYNTAX_ERROR, message=f"the SQL holds a NUL character at position {sql.index(chr(0))}")
    return None
