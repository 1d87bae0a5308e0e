"""Pages of rows from the object store: read line by line, filtered, resumed at a place; never a whole collection."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar

from fastapi import Query

from services.gateway.jobs.service import JobReader
from shared.contracts.base import ObjectRef
from shared.errors import InvalidInputError
from shared.jobs.reading import read_archived_shards
from shared.jobs.state import DAMAGE_ERRORS, ShardRecord, ShardState, raise_if_error, read_shard
from shared.redis import redis_errors
from shared.storage.records import read_lines

# Rows looked at for one answer: about a fifth of a second of parsing, whatever the filter lets through.
MAX_SCANNED = 20_000
SHARDS_AT_ONCE = 200
CURSOR = re.compile(r"(\d{1,6})\.(\d{1,9})\.(\d{1,9})")
After = Annotated[str | None, Query(max_length=40, description="the `last_id` of the page before")]
Limit = Annotated[int, Query(ge=1, le=100)]
Item = TypeVar("Item")
View = TypeVar("View")


@dataclass(frozen=True, order=True)
class Cursor:
    """Where reading goes on: the source's number, its shard, and the line in it, all from 0."""

    source: int = 0
    shard: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}.{self.shard}.{self.line}"


@dataclass(frozen=True)
class RecordSource(Generic[Item]):
    """Rows of one shard's output; sources come in the order of (number, shard)."""

    number: int
    shard: int
    rows: Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class RecordPage(Generic[View]):
    """A page."""

    data: list[View] = field(default_factory=list)
    has_more: bool = False
    last_id: str | None = None


def parse_cursor(after: str | None) -> Cursor:
    """Raises `InvalidInputError` (code unknown_cursor)."""
    if after is None:
        return Cursor()
    found = CURSOR.fullmatch(after)
    if found is None:
        raise InvalidInputError("after is no place in this list; begin without it", code="unknown_cursor")
    return Cursor(*map(int, found.groups()))


def read_page(
    sources: Iterable[RecordSource[Item]], after: Cursor, limit: int, make: Callable[[Item], View | None]
) -> RecordPage[View]:
    """Up to `limit` rows behind that place that `make` wants; it gives None for the others."""
    data: list[View] = []
    last, looked_at = after, 0
    for source in sources:
        if (source.number, source.shard) < (after.source, after.shard):
            continue
        first = after.line if (source.number, source.shard) == (after.source, after.shard) else 0
        for number, row in enumerate(source.rows()):
            if number < first:
                continue
            if looked_at == MAX_SCANNED:
                return RecordPage(data, True, str(last))
            looked_at += 1
            made = make(row)
            if made is not None:
                if len(data) == limit:
                    return RecordPage(data, True, str(last))
                data.append(made)
            last = Cursor(source.number, source.shard, number + 1)
    return RecordPage(data, False, str(last) if data else None)


def walk_shards(job: JobReader, stage: str, first: int = 0) -> Iterator[ShardRecord]:
    """A stage's rows from shard `first` on, a few at a time."""
    if job.archived:
        rows = read_archived_shards(job.backend.objects, job.job_id, [stage])
        yield from (row for row in rows if row.shard >= first)
        return
    store = job.backend.jobs
    while True:
        with redis_errors():
            shards = store.client.zrangebyscore(
                store.key("job", job.job_id, "shards", stage), first, "+inf", start=0, num=SHARDS_AT_ONCE
            )
            pipe = store.client.pipeline(transaction=False)
            for shard in shards:
                pipe.hgetall(store.key("job", job.job_id, "row", stage, shard))
            answers = pipe.execute(raise_on_error=False)
        for shard, fields in zip(shards, answers, strict=True):
            with suppress(*DAMAGE_ERRORS), redis_errors():  # a row that cannot be read has nothing to show
                if raise_if_error(fields):
                    yield read_shard(stage, int(shard), fields)
        if len(shards) < SHARDS_AT_ONCE:
            return
        first = int(shards[-1]) + 1


def finished_outputs(job: JobReader, stage: str, output: str, first: int = 0) -> Iterator[tuple[int, ObjectRef]]:
    """One output of the finished shards of a stage, in shard order."""
    for row in walk_shards(job, stage, first):
        if row.state is ShardState.DONE and output in row.outputs:
            yield row.shard, row.outputs[output]


def line_sources(job: JobReader, outputs: Iterable[tuple[str, str]], after: Cursor) -> Iterator[RecordSource[bytes]]:
    """The lines of these outputs, each a stage and an output's name, from that place on."""
    for number, (stage, output) in enumerate(outputs):
        if number < after.source:
            continue
        for shard, ref in finished_outputs(job, stage, output, after.shard if number == after.source else 0):
            yield RecordSource(number, shard, open_lines(job, ref))


def open_lines(job: JobReader, ref: ObjectRef) -> Callable[[], Iterator[bytes]]:
    """Opens an object's lines when they are wanted."""
    return lambda: read_lines(job.backend.objects, ref.key)
