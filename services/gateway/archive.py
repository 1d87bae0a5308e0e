"""A finished job as the object store remembers it: read where Redis does not know the job any more."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from services.gateway.listing import StageRow
from shared.contracts.registry import CONTRACTS
from shared.errors import ConflictError, NotFoundError
from shared.events.stream import Event
from shared.jobs.plan import Plan
from shared.jobs.state import JobRecord, ShardRow, StageState
from shared.logging import get_logger
from shared.storage.base import ObjectStore
from shared.storage.jsonl import parse_line, read_lines, read_rows
from shared.storage.keys import archive_key

log = get_logger()


@dataclass(frozen=True)
class Archived:
    """The archive's record of a job; its rows and facts are read when they are asked for."""

    job: JobRecord
    plan: Plan | None
    stages: list[StageRow]


def read_archived(objects: ObjectStore, job_id: str) -> Archived:
    """Raises `NotFoundError` (code job_not_found) where there is no archive of that job, `ConflictError` for a
    damaged one."""
    try:
        record = json.loads(objects.get(archive_key(job_id, "job.json")))
    except NotFoundError:
        raise NotFoundError(f"there is no job {job_id}; list them with: sense jobs", code="job_not_found") from None
    except ValueError as error:
        message = f"the archive of job {job_id} is damaged; restore it from a backup"
        raise ConflictError(message, code="corrupt_object") from error
    plan, stages = None, list[StageRow]()
    try:
        job = JobRecord.model_validate(record["job"])
    except (KeyError, TypeError, ValidationError) as error:
        message = f"the archive of job {job_id} is damaged or of another version; look at it with that version"
        raise ConflictError(message, code="corrupt_object") from error
    try:
        plan = Plan.model_validate(record["plan"]) if record.get("plan") else None
        stages = stage_rows(plan, record.get("stages") or {})
    except (KeyError, ValidationError) as error:  # of another version: the record is shown without its stages
        log.warning("archive.plan_unreadable", job=job_id, error=str(error)[:200])
        plan = None
    return Archived(job, plan, stages)


def stage_rows(plan: Plan | None, states: dict[str, Any]) -> list[StageRow]:
    """Stages in plan order."""
    return [
        StageRow(stage.id, stage.task, CONTRACTS[stage.task].queue.value, StageState.model_validate(states[stage.id]))
        for stage in (plan.stages if plan else [])
        if stage.id in states
    ]


def archived_rows(objects: ObjectStore, job_id: str, stages: Collection[str] | None = None) -> Iterator[ShardRow]:
    """Rows of these stages, or all, in plan order. Others are not even parsed: an archive may hold a million."""
    key = archive_key(job_id, "rows.jsonl")
    begins = None if stages is None else tuple(f'{{"stage":{json.dumps(stage)},'.encode() for stage in stages)
    for number, line in enumerate(read_lines(objects, key), start=1):
        if begins is None or line.startswith(begins):
            yield parse_line(line, ShardRow, f"{key}, line {number}")


def archived_facts(objects: ObjectStore, job_id: str) -> list[Event]:
    """All facts, oldest first; progress is not kept."""
    return list(read_rows(objects, archive_key(job_id, "facts.jsonl"), Event))
