"""Jobs in bulk, newest first, without their plans: for lists and for metrics."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from shared.errors import InvalidInputError
from shared.jobs.state import (
    DAMAGE_ERRORS,
    JobRecord,
    StageState,
    raise_if_error,
    read_job,
    read_or_default,
    read_stage,
    salvage_job,
)
from shared.jobs.store import JobStore
from shared.redis import redis_errors

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
FIELDS = (
    *("id", "kind", "name", "status", "spec", "epoch", "created_at"),
    *("started_at", "finished_at", "error", "request_id", "owner_id", "owner"),
)
BATCH = 200
SCAN = 500
UNFINISHED = frozenset({"queued", "running", "cancelling"})
KNOWN_KINDS: dict[str, str] = {}
MOST_KINDS = 200_000
NONE: frozenset[int] = frozenset()
NO_STAGES: list[str] = []
UNKNOWN: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True)
class StageRow:
    """A stage as the store holds it."""

    id: str
    task: str
    queue: str
    state: StageState


@dataclass(frozen=True)
class Page:
    """Part of a list."""

    jobs: list[JobRecord] = field(default_factory=list)
    has_more: bool = False


def walk_jobs(store: JobStore, ids: list[str]) -> Iterator[JobRecord]:
    """The records of these jobs, in this order."""
    for start in range(0, len(ids), BATCH):
        with redis_errors():
            pipe = store.client.pipeline(transaction=False)
            for job_id in ids[start : start + BATCH]:
                pipe.hmget(store.key("job", job_id), FIELDS)
            answers = pipe.execute(raise_on_error=False)
        for job_id, values in zip(ids[start : start + BATCH], answers, strict=True):
            found: dict[str, str] = {}
            try:
                with redis_errors():
                    found = {
                        name: value
                        for name, value in zip(FIELDS, raise_if_error(values), strict=True)
                        if value is not None
                    }
                if found:
                    yield read_job(found)
            except DAMAGE_ERRORS as error:
                yield salvage_job(job_id, found, error)


def find_page(
    store: JobStore, *, kind: str | None, status: str | None, owner: str | None = None, after: str | None, limit: int
) -> Page:
    """Up to `limit` jobs older than `after`. Raises `InvalidInputError` for an unknown cursor."""
    start = 0 if after is None else place_of(store, after) + 1
    ids = list(islice(matching(store, start, kind, status, owner), limit + 1))
    return Page(list(walk_jobs(store, ids[:limit])), has_more=len(ids) > limit)


def place_of(store: JobStore, job_id: str) -> int:
    """The job's place in the list, newest first. Raises `InvalidInputError` (code unknown_cursor)."""
    with redis_errors():
        place = store.client.zrevrank(store.key("jobs"), job_id)
    if place is None:
        raise InvalidInputError(f"after={job_id} names no job; begin without it", code="unknown_cursor")
    return int(place)


def matching(store: JobStore, start: int, kind: str | None, status: str | None, owner: str | None) -> Iterator[str]:
    """Ids from that place on, newest first; records are not read, so that long lists page quickly."""
    unfinished = set(store.active()) if status in UNFINISHED else None
    while True:
        with redis_errors():
            ids = store.client.zrevrange(store.key("jobs"), start, start + SCAN - 1)
        of_kind = (
            ids if kind is None else [one for one, found in zip(ids, kinds(store, ids), strict=True) if found == kind]
        )
        maybe = of_kind if unfinished is None else [one for one in of_kind if one in unfinished]
        maybe = maybe if owner is None else owned(store, maybe, owner)
        if status is None:
            yield from maybe
        else:
            found = kinds_and_statuses(store, maybe)
            yield from (one for one, (_, now) in zip(maybe, found, strict=True) if now == status)
        if len(ids) < SCAN:
            return
        start += SCAN


def kinds(store: JobStore, ids: list[str]) -> list[str | None]:
    """A job's kind never changes: it is asked for once a process."""
    if len(KNOWN_KINDS) > MOST_KINDS:
        KNOWN_KINDS.clear()
    keys = [store.key("job", job_id) for job_id in ids]
    unknown = [key for key in keys if key not in KNOWN_KINDS]
    if unknown:
        with redis_errors():
            pipe = store.client.pipeline(transaction=False)
            for key in unknown:
                pipe.hget(key, "kind")
            found = zip(unknown, pipe.execute(raise_on_error=False), strict=True)
            KNOWN_KINDS.update((key, kind) for key, kind in found if kind and isinstance(kind, str))
    return [KNOWN_KINDS.get(key) for key in keys]


def owned(store: JobStore, ids: list[str], owner: str) -> list[str]:
    """Those of a key, by its id or its name."""
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(store.key("job", job_id), "owner_id", "owner")
        return [one for one, found in zip(ids, pipe.execute(), strict=True) if owner in found]


def kinds_and_statuses(store: JobStore, ids: list[str]) -> list[tuple[str | None, str | None]]:
    """What lists filter and metrics count by, in one round trip; None where a job is gone."""
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(store.key("job", job_id), "kind", "status")
        answers = pipe.execute(raise_on_error=False)
        return [read_or_default(UNKNOWN, read_pair, answer) for answer in answers]


def stages_of(store: JobStore, ids: list[str]) -> dict[str, list[StageRow]]:
    """The stages of many jobs in plan order, in two round trips; none before a job is compiled."""
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.lrange(store.key("job", job_id, "stages"), 0, -1)
        lists = pipe.execute(raise_on_error=False)
        names = {job_id: read_or_default(NO_STAGES, list, found) for job_id, found in zip(ids, lists, strict=True)}
        pipe = store.client.pipeline(transaction=False)
        for job_id, stages in names.items():
            for stage in stages:
                pipe.hgetall(store.key("job", job_id, "stage", stage))
        hashes = iter(pipe.execute(raise_on_error=False))
        return {job_id: [show_stage(stage, next(hashes)) for stage in stages] for job_id, stages in names.items()}


def show_stage(stage: str, answer: object) -> StageRow:
    """A stage, or its name alone where it cannot be read."""
    return read_or_default(StageRow(stage, "", "", StageState()), lambda fields: read_stage_row(stage, fields), answer)


def read_pair(values: list[str | None]) -> tuple[str | None, str | None]:
    """Kind and status."""
    kind, status = values
    return kind, status


def read_stage_row(stage: str, fields: dict[str, str]) -> StageRow:
    """One stage, without its members."""
    return StageRow(stage, fields.get("task", ""), fields.get("queue", ""), read_stage(fields, NONE, NONE))
