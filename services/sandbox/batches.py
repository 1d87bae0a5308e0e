"""Many requests as few messages: equal ones run once, and those on one database travel together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.sandbox.execution import Execution, Request
from services.sandbox.files import Identity, KnownFiles
from services.sandbox.limits import Limits, checked_deadline
from shared.contracts.records import Outcome
from shared.errors import InvalidInputError

STATEMENTS = 32
MESSAGE_CHARS = 500_000


@dataclass
class Batch:
    """Statements for one database; each has its request's place among all distinct requests."""

    database: Path
    identity: Identity
    places: list[int] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)
    chars: int = 0

    def add(self, place: int, statement: dict[str, Any]) -> None:
        """One more statement."""
        self.places.append(place)
        self.statements.append(statement)
        self.chars += len(statement["sql"])

    def message(self) -> dict[str, Any]:
        """The request as a child reads it."""
        path = str(self.database.absolute())
        return {"op": "query", "database": path, "identity": self.identity, "statements": self.statements}

    def without(self, *answered: int) -> "Batch | None":
        """What is left when these statements have their answer."""
        gone = set(answered)
        left = [number for number in range(len(self.places)) if number not in gone]
        if not left:
            return None
        places, statements = [self.places[number] for number in left], [self.statements[number] for number in left]
        return Batch(self.database, self.identity, places, statements)


class Plan:
    """Distinct requests in the order of their first place, and how the answers spread over all places.

    Raises NotFoundError or InvalidInputError for a database, deadline or row count that cannot be used.
    """

    def __init__(self, requests: Sequence[Request], limits: Limits, files: KnownFiles) -> None:
        self.limits, self.files = limits, files
        self.distinct: dict[Request, int] = {}
        self.spread = [self.distinct.setdefault(request, len(self.distinct)) for request in requests]
        self.answers: list[Execution | None] = [None] * len(self.distinct)
        self._identities: dict[Path, Identity] = {}

    def batches(self) -> list[Batch]:
        """Batches of requests on one database, in order; what need not reach a child is answered here."""
        return list(self._batches())

    def _batches(self) -> Iterator[Batch]:
        batch: Batch | None = None
        for request, place in self.distinct.items():
            deadline = self._checked(request)
            self.answers[place] = unsendable(request.sql, self.limits)
            if self.answers[place] is not None:
                continue
            full = batch is not None and (len(batch.places) >= STATEMENTS or batch.chars >= MESSAGE_CHARS)
            if batch is None or full or batch.database != request.database:
                if batch is not None:
                    yield batch
                batch = Batch(request.database, self._identities[request.database])
            batch.add(place, request.message(deadline))
        if batch is not None:
            yield batch

    def _checked(self, request: Request) -> float:
        if request.keep_rows < 0:
            raise InvalidInputError(f"keep_rows is {request.keep_rows}; give 0 or more.")
        if request.database not in self._identities:
            self._identities[request.database] = self.files.identity(request.database)
        return checked_deadline(self.limits.deadline_s if request.deadline_s is None else request.deadline_s)

    def results(self) -> list[Execution]:
        """One answer a request, in order; all places must have been answered."""
        answers = [answer for answer in self.answers if answer is not None]
        assert len(answers) == len(self.answers)
        return [answers[place] for place in self.spread]


def unsendable(sql: str, limits: Limits) -> Execution | None:
    """The outcome of a text that need not reach a child: too long, or not text that SQLite takes."""
    try:
        size = len(sql) if sql.isascii() else len(sql.encode())
    except UnicodeEncodeError:
        return Execution(Outcome.SYNTAX_ERROR, message="the SQL holds a character that is not valid Unicode")
    if size > limits.sql_bytes:
        said = f"the SQL has {size} bytes; at most {limits.sql_bytes} are run"
        return Execution(Outcome.BYTE_LIMIT, message=said, walled=True)
    if "\x00" in sql:
        return Execution(Outcome.SYNTAX_ERROR, message=f"the SQL holds a NUL character at position {sql.index(chr(0))}")
    return None
