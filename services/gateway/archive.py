"""A finished job as the object store remembers it: read where Redis does not know the job any more."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from services.gateway.listing import StageRow
from shared.contracts.registry import CONTRACTS
from shared.jobs.events import Event
from shared.jobs.finished import archived_key
from shared.jobs.plan import JobPlan
from shared.jobs.state import DAMAGE_ERRORS, JobRecord, ShardRecord, StageState, summarize_error
from shared.logging import get_logger
from shared.storage.records import CorruptObjectError, parse_line, read_lines, read_records
from shared.storage.store import ObjectStore

log = get_logger()


@dataclass(frozen=True)
class Archived:
    """The archive's record of a job; its rows and facts are read when they are asked for."""

    job: JobRecord
    plan: JobPlan | None
    stages: list[StageRow]


def read_archived(objects: ObjectStore, job_id: str) -> Archived:
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
        return Archived(job, plan, stage_records(plan, record.get("stages") or {}))
    except DAMAGE_ERRORS as error:
        log.warning("archive.plan_unreadable", job=job_id, error=summarize_error(error))
        return Archived(job, None, [])


def stage_records(plan: JobPlan | None, states: dict[str, Any]) -> list[StageRow]:
    """Stages in plan order."""
    return [
        StageRow(stage.id, stage.task, CONTRACTS[stage.task].queue.value, StageState.model_validate(states[stage.id]))
        for stage in (plan.stages if plan else [])
        if stage.id in states
    ]


def archived_rows(objects: ObjectStore, job_id: str, stages: Collection[str] | None = None) -> Iterator[ShardRecord]:
    """Rows of these stages, or all, in plan order. Others are not even parsed: an archive may hold a million."""
    key = archived_key(objects, job_id, "rows.jsonl")
    begins = None if stages is None else tuple(f'{{"stage":{json.dumps(stage)},'.encode() for stage in stages)
    for number, line in enumerate(read_lines(objects, key), start=1):
        if begins is None or line.startswith(begins):
            yield parse_line(line, ShardRecord, f"{key}, line {number}")


def archived_facts(objects: ObjectStore, job_id: str) -> list[Event]:
    """All facts, oldest first; progress is not kept."""
    return list(read_records(objects, archived_key(objects, job_id, "events.jsonl"), Event))
