"""What the sandbox is asked and what it answers."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.sandbox.columns import Target
from shared.contracts.records import Outcome, ResultView

Shown = str | int | float | None


@dataclass(frozen=True)
class Request:
    """One SQL for one database. `marks` asks for column marks, `target` for a comparison; the judge uses both."""

    database: Path
    sql: str
    deadline_s: float | None = None
    keep_rows: int = 20
    marks: bool = False
    target: Target | None = None

    def message(self, path: str, identity: tuple[int, ...], deadline_s: float) -> dict[str, Any]:
        """The request as a child reads it."""
        return {
            "op": "query",
            "database": path,
            "identity": identity,
            "sql": self.sql,
            "deadline_s": deadline_s,
            "keep_rows": self.keep_rows,
            "marks": self.marks,
            "target": asdict(self.target) if self.target else None,
        }


@dataclass(frozen=True)
class Execution:
    """One run of one SQL. `rows` is a view for people; the hashes are over all rows, None where not all were seen.

    `truncated`: the view lacks rows or parts of cells. `dqs_fallback`: a name in double quotes was read as a string.
    `matched` answers a request's target: equal, not equal, or None for not settled.
    """

    outcome: Outcome
    columns: list[str] = field(default_factory=list)
    rows: list[list[Shown]] = field(default_factory=list)
    row_count: int = 0
    truncated: bool = False
    elapsed_ms: float = 0.0
    message: str | None = None
    ordered_hash: str | None = None
    bag_hash: str | None = None
    dqs_fallback: bool = False
    marks: list[tuple[str, str]] = field(default_factory=list)
    matched: bool | None = None

    @classmethod
    def from_reply(cls, reply: dict[str, Any]) -> "Execution":
        """From a child's reply."""
        marks = [(bag, listed) for bag, listed in reply.get("marks", [])]
        return cls(**{**reply, "outcome": Outcome(reply["outcome"]), "marks": marks})

    @property
    def complete(self) -> bool:
        """Whether the SQL ran to its end and every row was seen."""
        return self.outcome in (Outcome.OK, Outcome.EMPTY)

    @property
    def capped(self) -> bool:
        """Whether the SQL ran but gave more rows or bytes than the sandbox reads."""
        return self.outcome in (Outcome.ROW_LIMIT, Outcome.BYTE_LIMIT) and self.row_count > 0

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
