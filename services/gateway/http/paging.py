"""Pages of records from the object store: read line by line, filtered, resumed at a cursor."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar

from fastapi import Query

from shared.contracts.base import ObjectRef
from shared.errors import InvalidInputError
from shared.jobs.reading import JobReader
from shared.storage.records import read_lines

# Records scanned for one page: about a fifth of a second of parsing, whatever the filter lets through.
MAX_SCANNED = 20_000
CURSOR = re.compile(r"(\d{1,6})\.(\d{1,9})\.(\d{1,9})")
After = Annotated[str | None, Query(max_length=40, description="the `last_id` of the page before")]
Limit = Annotated[int, Query(ge=1, le=100)]
Item = TypeVar("Item")
View = TypeVar("View")


@dataclass(frozen=True, order=True)
class Cursor:
    """Where the next page begins: number of the source, shard, and line, all from 0."""

    source: int = 0
    shard: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}.{self.shard}.{self.line}"


@dataclass(frozen=True)
class RecordSource(Generic[Item]):
    """Records of one shard's output; sources are ordered by (number, shard)."""

    number: int
    shard: int
    rows: Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class RecordPage(Generic[View]):
    data: list[View] = field(default_factory=list)
    has_more: bool = False
    last_id: str | None = None


def parse_cursor(after: str | None) -> Cursor:
    if after is None:
        return Cursor()
    found = CURSOR.fullmatch(after)
    if found is None:
        raise InvalidInputError("after is no place in this list; begin without it", code="unknown_cursor")
    return Cursor(*map(int, found.groups()))


def read_page(
    sources: Iterable[RecordSource[Item]], after: Cursor, limit: int, make: Callable[[Item], View | None]
) -> RecordPage[View]:
    """Up to `limit` records after the cursor for which `make` does not return None. Scans at most `MAX_SCANNED`."""
    data: list[View] = []
    last, looked_at = after, 0
    for source in sources:
        if (source.number, source.shard) < (after.source, after.shard):
            continue
        first = after.line if (source.number, source.shard) == (after.source, after.shard) else 0
        for number, row in enumerate(source.rows()):
            if number < first:
                continue
            # A rare match must not make one request read everything; the reader goes on from the cursor.
            if looked_at == MAX_SCANNED:
                return RecordPage(data, True, str(last))
            looked_at += 1
            made = make(row)
            if made is not None:
                # A record beyond the page is the only proof that there are more.
                if len(data) == limit:
                    return RecordPage(data, True, str(last))
                data.append(made)
            last = Cursor(source.number, source.shard, number + 1)
    return RecordPage(data, False, str(last) if data else None)


def line_sources(job: JobReader, outputs: Iterable[tuple[str, str]], after: Cursor) -> Iterator[RecordSource[bytes]]:
    for number, (stage, output) in enumerate(outputs):
        if number < after.source:
            continue
        for shard, ref in job.finished_outputs(stage, output, after.shard if number == after.source else 0):
            yield RecordSource(number, shard, open_lines(job, ref))


def open_lines(job: JobReader, ref: ObjectRef) -> Callable[[], Iterator[bytes]]:
    return lambda: read_lines(job.objects, ref.key)
