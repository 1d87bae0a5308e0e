"""A finished job as the object store remembers it: read where Redis does not know the job any more."""

import json
from dataclasses import dataclass
from typing import Any

from services.gateway.listing import StageRow
from shared.contracts.registry import CONTRACTS
from shared.errors import NotFoundError
from shared.events.stream import Event
from shared.jobs.plan import Plan
from shared.jobs.state import JobRecord, ShardRow, StageState
from shared.storage.base import ObjectStore
from shared.storage.jsonl import read_rows
from shared.storage.keys import archive_key


@dataclass(frozen=True)
class Archived:
    """The archive's record of a job; its rows and facts are read when they are asked for."""

    job: JobRecord
    plan: Plan | None
    stages: list[StageRow]


def read_archived(objects: ObjectStore, job_id: str) -> Archived:
    """Raises `NotFoundError` (code job_not_found) where there is no archive of that job."""
    try:
        record = json.loads(objects.get(archive_key(job_id, "job.json")))
    except NotFoundError:
        raise NotFoundError(f"there is no job {job_id}; list them with: sense jobs", code="job_not_found") from None
    plan = Plan.model_validate(record["plan"]) if record.get("plan") else None
    return Archived(JobRecord.model_validate(record["job"]), plan, stage_rows(plan, record.get("stages") or {}))


def stage_rows(plan: Plan | None, states: dict[str, Any]) -> list[StageRow]:
    """Stages in plan order."""
    return [
        StageRow(stage.id, stage.task, CONTRACTS[stage.task].queue.value, StageState.model_validate(states[stage.id]))
        for stage in (plan.stages if plan else [])
        if stage.id in states
    ]


def archived_rows(objects: ObjectStore, job_id: str) -> list[ShardRow]:
    """All rows, stage by stage in plan order."""
    return list(read_rows(objects, archive_key(job_id, "rows.jsonl"), ShardRow))


def archived_facts(objects: ObjectStore, job_id: str) -> list[Event]:
    """All facts, oldest first; progress is not kept."""
    return list(read_rows(objects, archive_key(job_id, "facts.jsonl"), Event))
