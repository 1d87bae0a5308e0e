"""Reads jobs, stages, shards and events for people: from Redis, or from the archive once Redis has lost the job.

Nothing here changes a job. A damaged record costs only itself: lists continue without it.
"""

import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from shared.contracts.base import ObjectRef
from shared.contracts.registry import CONTRACTS
from shared.errors import InvalidInputError, NotFoundError
from shared.jobs.events import Event, JobEvents
from shared.jobs.finished import archived_key
from shared.jobs.plan import JobPlan
from shared.jobs.state import (
    DAMAGE_ERRORS,
    JobRecord,
    ShardRecord,
    ShardState,
    StageState,
    raise_if_error,
    read_job,
    read_or_default,
    read_shard,
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
KNOWN_KINDS: dict[str, str] = {}  # by key; a job's kind never changes, so each process reads it once
MAX_KNOWN_KINDS = 200_000
SHARDS_AT_ONCE = 200
log = get_logger()


@dataclass(frozen=True)
class StageInfo:
    id: str
    task: str
    queue: str
    state: StageState


@dataclass(frozen=True)
class JobPage:
    jobs: list[JobRecord] = field(default_factory=list)
    has_more: bool = False


def read_jobs(store: JobStore, ids: list[str]) -> Iterator[JobRecord]:
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
    # one more than the page, to know whether another page follows
    ids = list(islice(iterate_job_ids(store, start, kind, status, owner), limit + 1))
    return JobPage(list(read_jobs(store, ids[:limit])), has_more=len(ids) > limit)


def job_rank(store: JobStore, job_id: str) -> int:
    """The position in the list, newest first. Raises `InvalidInputError` (code unknown_cursor)."""
    with redis_errors():
        place = store.client.zrevrank(store.key("jobs"), job_id)
    if place is None:
        raise InvalidInputError(f"after={job_id} names no job; begin without it", code="unknown_cursor")
    return int(place)


def iterate_job_ids(
    store: JobStore, start: int, kind: str | None, status: str | None, owner: str | None
) -> Iterator[str]:
    # few jobs are active, so most of a long list need not be looked at
    unfinished = set(store.active()) if status in UNFINISHED else None
    while True:
        with redis_errors():
            ids = store.client.zrevrange(store.key("jobs"), start, start + IDS_AT_ONCE - 1)
        of_kind = (
            ids
            if kind is None
            else [one for one, found in zip(ids, read_kinds(store, ids), strict=True) if found == kind]
        )
        # filters read single fields and no records, so that long lists page quickly
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
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(store.key("job", job_id), "owner_id", "owner")
        return [one for one, found in zip(ids, pipe.execute(), strict=True) if owner in found]


def read_kinds_and_statuses(store: JobStore, ids: list[str]) -> list[tuple[str | None, str | None]]:
    """Takes one round trip; None where a job is gone or unreadable."""

    def read(values: list[str | None]) -> tuple[str | None, str | None]:
        kind, status = values
        return kind, status

    unknown: tuple[str | None, str | None] = (None, None)
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(store.key("job", job_id), "kind", "status")
        return [read_or_default(unknown, read, answer) for answer in pipe.execute(raise_on_error=False)]


def read_stages(store: JobStore, ids: list[str]) -> dict[str, list[StageInfo]]:
    no_stages: list[str] = []
    with redis_errors():
        pipe = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.lrange(store.key("job", job_id, "stages"), 0, -1)
        lists = pipe.execute(raise_on_error=False)
        names = {job_id: read_or_default(no_stages, list, found) for job_id, found in zip(ids, lists, strict=True)}
        pipe = store.client.pipeline(transaction=False)
        for job_id, stages in names.items():
            for stage in stages:
                pipe.hgetall(store.key("job", job_id, "stage", stage))
        hashes = iter(pipe.execute(raise_on_error=False))
        return {job_id: [read_stage_info(stage, next(hashes)) for stage in stages] for job_id, stages in names.items()}


def read_stage_info(stage: str, answer: object) -> StageInfo:
    def read(fields: dict[str, str]) -> StageInfo:
        state = read_stage(fields, frozenset(), frozenset())
        return StageInfo(stage, fields.get("task", ""), fields.get("queue", ""), state)

    return read_or_default(StageInfo(stage, "", "", StageState()), read, answer)


@dataclass(frozen=True)
class ArchivedJob:
    """The archive's record of a job; shards and events are read when needed."""

    job: JobRecord
    plan: JobPlan | None
    stages: list[StageInfo]


def read_archived_job(objects: ObjectStore, job_id: str) -> ArchivedJob:
    """Reads the archive of the job's last ending. Raises `NotFoundError` (code job_not_found) if there is none.

    Raises `CorruptObjectError` for a record that cannot be read. A plan of another version is left out, and the
    job is shown without its stages.
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
    return [
        StageInfo(stage.id, stage.task, CONTRACTS[stage.task].queue.value, StageState.model_validate(states[stage.id]))
        for stage in (plan.stages if plan else [])
        if stage.id in states
    ]


def read_archived_shards(
    objects: ObjectStore, job_id: str, stages: Collection[str] | None = None
) -> Iterator[ShardRecord]:
    """Yields shards in plan order. Other stages are not even parsed: an archive may hold a million shards."""
    key = archived_key(objects, job_id, "rows.jsonl")
    # the archive writes `stage` first in each line
    begins = None if stages is None else tuple(f'{{"stage":{json.dumps(stage)},'.encode() for stage in stages)
    for number, line in enumerate(read_lines(objects, key), start=1):
        if begins is None or line.startswith(begins):
            yield parse_line(line, ShardRecord, f"{key}, line {number}")


def read_archived_events(objects: ObjectStore, job_id: str) -> list[Event]:
    return list(read_records(objects, archived_key(objects, job_id, "events.jsonl"), Event))


class JobReader:
    """One job in Redis or in the archive. Raises `NotFoundError` (code job_not_found) if it is in neither."""

    def __init__(self, store: JobStore, objects: ObjectStore, job_id: str) -> None:
        self.store, self.objects, self.job_id = store, objects, job_id
        self.archived: ArchivedJob | None = None
        try:
            self.record: JobRecord = store.shown_job(job_id)
        except NotFoundError:
            self.archived = read_archived_job(objects, job_id)
            self.record = self.archived.job

    @property
    def terminal(self) -> bool:
        return self.record.status.terminal

    def refresh(self) -> bool:
        if self.archived is None:
            self.record = self.store.shown_job(self.job_id)
        return self.terminal

    def plan(self) -> JobPlan | None:
        """Returns None before the job is compiled, and for an unreadable plan, which the job's error reports."""
        if self.archived:
            return self.archived.plan
        try:
            return self.store.plan(self.job_id)
        except DAMAGE_ERRORS:
            return None

    def stages(self) -> list[StageInfo]:
        return self.archived.stages if self.archived else read_stages(self.store, [self.job_id])[self.job_id]

    def shards(self, stages: list[str]) -> list[ShardRecord]:
        if self.archived:
            return list(read_archived_shards(self.objects, self.job_id, stages))
        return [row for stage in stages for row in self.store.readable_shards(self.job_id, stage)]

    def find_shard(self, stage: str, shard: int) -> ShardRecord | None:
        """Returns None for a shard that is not in Redis; an archive has no index."""
        try:
            return self.store.shard(self.job_id, stage, shard)
        except NotFoundError:
            return None

    def walk_shards(self, stage: str, first: int = 0) -> Iterator[ShardRecord]:
        """Reads a few shards at a time, from number `first` on. Those that cannot be read are left out."""
        if self.archived:
            rows = read_archived_shards(self.objects, self.job_id, [stage])
            yield from (row for row in rows if row.shard >= first)
            return
        store = self.store
        while True:
            with redis_errors():
                shards = store.client.zrangebyscore(
                    store.key("job", self.job_id, "shards", stage), first, "+inf", start=0, num=SHARDS_AT_ONCE
                )
                pipe = store.client.pipeline(transaction=False)
                for shard in shards:
                    pipe.hgetall(store.key("job", self.job_id, "row", stage, shard))
                answers = pipe.execute(raise_on_error=False)
            for shard, fields in zip(shards, answers, strict=True):
                with suppress(*DAMAGE_ERRORS), redis_errors():
                    # empty if the shard has left Redis since its number was read
                    if raise_if_error(fields):
                        yield read_shard(stage, int(shard), fields)
            if len(shards) < SHARDS_AT_ONCE:
                return
            first = int(shards[-1]) + 1

    def finished_outputs(self, stage: str, output: str, first: int = 0) -> Iterator[tuple[int, ObjectRef]]:
        for row in self.walk_shards(stage, first):
            if row.state is ShardState.DONE and output in row.outputs:
                yield row.shard, row.outputs[output]

    def finished_output(self, stage: str, output: str) -> ObjectRef | None:
        return next((ref for _, ref in self.finished_outputs(stage, output)), None)

    def events(self, after: str, limit: int) -> list[Event]:
        if self.archived is None:
            try:
                return JobEvents(self.store.client, self.store.prefix, self.job_id).after(after, limit)
            except DAMAGE_ERRORS:
                return []
        events = read_archived_events(self.objects, self.job_id)
        return [event for event in events if stream_position(event.id) > stream_position(after)][:limit]

    def progress(self, stage: str) -> Iterator[Event]:
        """Yields the oldest first; nothing for an archived job, because progress is not archived."""
        if self.archived is None:
            for event in JobEvents(self.store.client, self.store.prefix, self.job_id).all():
                if event.type == "progress" and event.stage == stage:
                    yield event


def stream_position(stream_id: str) -> tuple[int, int]:
    time, _, number = stream_id.partition("-")
    return int(time), int(number or 0)
