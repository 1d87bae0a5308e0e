"""Jobs in bulk, newest first, without their plans: for lists and for metrics."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from shared.contracts.registry import CONTRACTS
from shared.errors import InvalidInputError
from shared.jobs.events import Event
from shared.jobs.finished import archived_key
from shared.jobs.plan import JobPlan
from shared.jobs.state import (
    DAMAGE_ERRORS,
    JobRecord,
    ShardRecord,
    StageState,
    raise_if_error,
    read_job,
    read_or_default,
    read_stage,
    salvage_job,
    summarize_error,
)
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.redis import redis_errors
from shared.storage.records import CorruptObjectError, parse_line, read_lines, read_records
from shared.storage.store import ObjectStore

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
FIELDS = (
    *("id", "kind", "name", "status", "spec", "epoch", "created_at"),
    *("started_at", "finished_at", "error", "request_id", "owner_id", "owner"),
)
JOBS_AT_ONCE = 200
IDS_AT_ONCE = 500
UNFINISHED = frozenset({"queued", "running", "cancelling"})
KNOWN_KINDS: dict[str, str] = {}
MAX_KNOWN_KINDS = 200_000
NONE: frozenset[int] = frozenset()
NO_STAGES: list[str] = []
UNKNOWN: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True)
class StageInfo:
    """A stage as the store holds it."""

    id: str
    task: str
    queue: str
    state: StageState


@dataclass(frozen=True)
class JobPage:
    """Part of a list."""

    jobs: list[JobRecord] = field(default_factory=list)
    has_more: bool = False


def read_jobs(store: JobStore, ids: list[str]) -> Iterator[JobRecord]:
    """The records of these jobs, in this order."""
    for start in range(0, len(ids), JOBS_AT_ONCE):
        with redis_errors():
            pipe = store.client.pipeline(transaction=False)
            for job_id in ids[start : start + JOBS_AT_ONCE]:
                pipe.hmget(store.key("job", job_id), FIELDS)
            answers = pipe.execute(raise_on_error=False)
        for job_id, values in zip(ids[start : start + JOBS_AT_ONCE], answers, strict=True):
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


def read_job_page(
    store: JobStore, *, kind: str | None, status: str | None, owner: str | None = None, after: str | None, limit: int
) -> JobPage:
    """Up to `limit` jobs older than `after`. Raises `InvalidInputError` for an unknown cursor."""
    start = 0 if after is None else job_rank(store, after) + 1
    ids = list(islice(iterate_job_ids(store, start, kind, status, owner), limit + 1))
    return JobPage(list(read_jobs(store, ids[:limit])), has_more=len(ids) > limit)


def job_rank(store: JobStore, job_id: str) -> int:
    """The job's place in the list, newest first. Raises `InvalidInputError` (code unknown_cursor)."""
    with redis_errors():
        place = store.client.zrevrank(store.key("jobs"), job_id)
    if place is None:
        raise InvalidInputError(f"after={job_id} names no job; begin without it", code="unknown_cursor")
    return int(place)


def iterate_job_ids(
    store: JobStore, start: int, kind: str | None, status: str | None, owner: str | None
) -> Iterator[str]:
    """Ids from that place on, newest first; records are not read, so that long lists page quickly."""
    unfinished = set(store.active()) if status in UNFINISHED else None
    while True:
        with redis_errors():
            ids = store.client.zrevrange(store.key("jobs"), start, start + IDS_AT_ONCE - 1)
        of_kind = (
            ids
            if kind is None
            else [one for one, found in zip(ids, read_kinds(store, ids), strict=True) if found == kind]
        )
        maybe = of_kind if unfinished is None else [one for one in of_kind if one in unfinished]
        maybe = maybe if owner is None else filter_by_owner(store, maybe, owner)
        if status is None:
            yield from maybe
        else:
            found = read_kinds_and_statuses(store, maybe)
            yield from (one for one, (_, now) in zip(maybe, found, strict=True) if now == status)
        if len(ids) < IDS_AT_ONCE:
            return
        start += IDS_AT_ONCE


def read_kinds(store: JobStore, ids: list[str]) -> list[str | None]:
    """A job's kind never changes: it is asked for once a process."""
    if len(KNOWN_KINDS) > MAX_KNOWN_KINDS:
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


def filter_by_owner(store: JobStore, ids: list[str], owner: str) -> list[str]:
    """Those of a key, by its id or its name."""
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(store.key("job", job_id), "owner_id", "owner")
        return [one for one, found in zip(ids, pipe.execute(), strict=True) if owner in found]


def read_kinds_and_statuses(store: JobStore, ids: list[str]) -> list[tuple[str | None, str | None]]:
    """What lists filter and metrics count by, in one round trip; None where a job is gone."""
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(store.key("job", job_id), "kind", "status")
        answers = pipe.execute(raise_on_error=False)
        return [read_or_default(UNKNOWN, read_pair, answer) for answer in answers]


def read_stages(store: JobStore, ids: list[str]) -> dict[str, list[StageInfo]]:
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


def show_stage(stage: str, answer: object) -> StageInfo:
    """A stage, or its name alone where it cannot be read."""
    return read_or_default(StageInfo(stage, "", "", StageState()), lambda fields: read_stage_row(stage, fields), answer)


def read_pair(values: list[str | None]) -> tuple[str | None, str | None]:
    """Kind and status."""
    kind, status = values
    return kind, status


def read_stage_row(stage: str, fields: dict[str, str]) -> StageInfo:
    """One stage, without its members."""
    return StageInfo(stage, fields.get("task", ""), fields.get("queue", ""), read_stage(fields, NONE, NONE))


log = get_logger()


@dataclass(frozen=True)
class ArchivedJob:
    """The archive's record of a job; its rows and facts are read when they are asked for."""

    job: JobRecord
    plan: JobPlan | None
    stages: list[StageInfo]


def read_archived_job(objects: ObjectStore, job_id: str) -> ArchivedJob:
    """The last ending's. Raises `NotFoundError` (code job_not_found) where there is no archive of that job.

    Raises `CorruptObjectError` for a record that cannot be read. A plan of another version is left out: the job is
    shown without its stages.
    """
    key = archived_key(objects, job_id, "job.json")
    try:
        record = json.loads(objects.get(key))
        job = JobRecord.model_validate(record["job"])
    except DAMAGE_ERRORS as error:
        raise CorruptObjectError(
            f"the archive {key} cannot be read ({summarize_error(error)}); restore a backup"
        ) from error
    try:
        plan = JobPlan.model_validate(record["plan"]) if record.get("plan") else None
        return ArchivedJob(job, plan, stage_records(plan, record.get("stages") or {}))
    except DAMAGE_ERRORS as error:
        log.warning("archive.plan_unreadable", job=job_id, error=summarize_error(error))
        return ArchivedJob(job, None, [])


def stage_records(plan: JobPlan | None, states: dict[str, Any]) -> list[StageInfo]:
    """Stages in plan order."""
    return [
        StageInfo(stage.id, stage.task, CONTRACTS[stage.task].queue.value, StageState.model_validate(states[stage.id]))
        for stage in (plan.stages if plan else [])
        if stage.id in states
    ]


def read_archived_shards(
    objects: ObjectStore, job_id: str, stages: Collection[str] | None = None
) -> Iterator[ShardRecord]:
    """Rows of these stages, or all, in plan order. Others are not even parsed: an archive may hold a million."""
    key = archived_key(objects, job_id, "rows.jsonl")
    begins = None if stages is None else tuple(f'{{"stage":{json.dumps(stage)},'.encode() for stage in stages)
    for number, line in enumerate(read_lines(objects, key), start=1):
        if begins is None or line.startswith(begins):
            yield parse_line(line, ShardRecord, f"{key}, line {number}")


def read_archived_events(objects: ObjectStore, job_id: str) -> list[Event]:
    """All facts, oldest first; progress is not kept."""
    return list(read_records(objects, archived_key(objects, job_id, "events.jsonl"), Event))
