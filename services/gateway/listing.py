"""Jobs in bulk, newest first, without their plans: for lists and for metrics."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.errors import InvalidInputError
from shared.jobs.connect import redis_errors
from shared.jobs.rows import read_job, read_stage
from shared.jobs.state import JobRecord, StageState
from shared.jobs.store import JobStore

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
FIELDS = (
    *("id", "kind", "name", "status", "spec", "epoch", "created_at"),
    *("started_at", "finished_at", "error", "request_id"),
)
BATCH = 200
NONE: frozenset[int] = frozenset()


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
            answers = pipe.execute()
        for values in answers:
            found = {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}
            if "id" in found:
                yield read_job(found)


def find_page(store: JobStore, *, kind: str | None, status: str | None, after: str | None, limit: int) -> Page:
    """Up to `limit` jobs older than `after`. Raises `InvalidInputError` for an unknown cursor."""
    ids = store.job_ids()
    if after is not None:
        if after not in ids:
            raise InvalidInputError(f"after={after} names no job; begin without it", code="unknown_cursor")
        ids = ids[ids.index(after) + 1 :]
    found: list[JobRecord] = []
    for job in walk_jobs(store, ids):
        if (kind is None or job.kind == kind) and (status is None or job.status == status):
            if len(found) == limit:
                return Page(found, has_more=True)
            found.append(job)
    return Page(found)


def stages_of(store: JobStore, ids: list[str]) -> dict[str, list[StageRow]]:
    """The stages of many jobs in plan order, in two round trips; none before a job is compiled."""
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.lrange(store.key("job", job_id, "stages"), 0, -1)
        names = dict(zip(ids, pipe.execute(), strict=True))
        pipe = store.client.pipeline(transaction=False)
        for job_id, stages in names.items():
            for stage in stages:
                pipe.hgetall(store.key("job", job_id, "stage", stage))
        hashes = iter(pipe.execute())
    return {job_id: [read_stage_row(stage, next(hashes)) for stage in stages] for job_id, stages in names.items()}


def read_stage_row(stage: str, fields: dict[str, str]) -> StageRow:
    """One stage, without its members."""
    return StageRow(stage, fields.get("task", ""), fields.get("queue", ""), read_stage(fields, NONE, NONE))
