"""What the sandbox is asked and what it answers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.sandbox.rules import Mark, Rule, Target
from shared.contracts.records import Outcome, ResultView

Shown = str | int | float | None


@dataclass(frozen=True)
class Request:
    """One SQL for one database. With a `rule` its result is fingerprinted; the judge uses the fields after it.

    `leave_target` asks a gold's run for what candidates are compared with, `target` asks for that comparison. `repeat`
    further runs are timed; all share the deadline. With `gold` the child runs that first, with its own deadline, and
    compares (in place of `target`). With `program` the SQL is compiled and not run. `now_ms` is the time that date
    functions are told, in milliseconds since 1970; None: the time when it runs.
    """

    database: Path
    sql: str
    deadline_s: float | None = None
    keep_rows: int = 20
    rule: Rule | None = None
    leave_target: bool = False
    with_marks: bool = False
    target: Target | None = None
    only_wrong: bool = False
    gold: str | None = None
    gold_deadline_s: float = 0.0
    repeat: int = 0
    program: bool = False
    now_ms: int | None = None

    def message(self, deadline_s: float) -> dict[str, Any]:
        """The statement as a child reads it."""
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
            message |= {"own_s": deadline_s, "deadline_s": deadline_s + self.gold_deadline_s}
        if self.repeat:
            message["repeat"] = self.repeat
        if self.program:
            message["program"] = True
        return message


@dataclass(frozen=True)
class Execution:
    """One run of one SQL. `rows` is a view for people; the fingerprint is over all rows, None where not all were seen.

    `truncated`: the view lacks rows or parts of cells. `flagged`: names in double quotes that no table has, read as
    strings. `matched` answers a request's target: equal, not equal, or None for not settled (`wants_marks`: not with a
    target without marks). `gold` is the run of the request's gold. `timings`: seconds to the first and to the last row
    of each repeated run. `program`: a hash of what SQLite makes of the text, where the request asks for that alone.
    `clock`: SQLite asked for the time, so another moment may give another result. `walled`: a limit of ours stopped it
    where a stock SQLite would have gone on, so that it says nothing about the SQL. `foreign`: the database names a
    collation that SQLite does not have, so that a stock one refuses more of its SQL.
    """

    outcome: Outcome
    columns: list[str] = field(default_factory=list)
    rows: list[list[Shown]] = field(default_factory=list)
    row_count: int = 0
    truncated: bool = False
    elapsed_ms: float = 0.0
    message: str | None = None
    fingerprint: str | None = None
    flagged: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    keyed: str | None = None
    matched: bool | None = None
    wants_marks: bool = False
    gold: "Execution | None" = None
    timings: list[tuple[float, float]] = field(default_factory=list)
    program: str | None = None
    clock: bool = False
    walled: bool = False
    foreign: bool = False

    @classmethod
    def from_reply(cls, reply: dict[str, Any]) -> "Execution":
        """From a child's reply; one that no child of ours writes counts as `killed`."""
        try:
            gold = cls.from_reply(reply["gold"]) if reply.get("gold") else None
            return cls(**{**reply, "outcome": Outcome(reply["outcome"]), "gold": gold})
        except (TypeError, ValueError, KeyError):
            return cls(Outcome.KILLED, message="the sandbox's child gave an answer that cannot be read")

    @property
    def complete(self) -> bool:
        """Whether the SQL ran to its end and every row was seen."""
        return self.outcome in (Outcome.OK, Outcome.EMPTY)

    @property
    def capped(self) -> bool:
        """Whether the SQL ran but gave more rows or bytes than the sandbox reads."""
        return self.outcome in (Outcome.ROW_LIMIT, Outcome.BYTE_LIMIT) and self.row_count > 0

    @property
    def dqs_fallback(self) -> bool:
        """Whether a name in double quotes was read as a string because no column has it."""
        return bool(self.flagged)

    def target(self) -> Target:
        """What candidates are held against, from the run of a gold that asked for it."""
        marks = tuple((bag, listed) for bag, listed in self.marks)
        return Target(self.fingerprint or "", self.row_count, len(self.columns), marks, self.keyed)

    def view(self) -> ResultView:
        """The part that rows in the object store carry."""
        return ResultView(
            outcome=self.outcome,
            columns=self.columns,
            rows=self.rows,
            row_count=self.row_count,
            truncated=self.truncated,
            message=self.message,
        )
