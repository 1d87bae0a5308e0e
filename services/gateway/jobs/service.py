"""A job as the REST API shows it, and names for what its finished shards left."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import Depends

from services.gateway.backend import Backend, get_backend
from shared.api.resources import Artifact, Job, JobEvent, JobSummary, Stage, StageStatus
from shared.contracts.base import ObjectRef
from shared.contracts.spec import AnySpec, SpecError, parse_spec
from shared.errors import NotFoundError
from shared.jobs.events import Event
from shared.jobs.plan import EachShard, FixedShards, JobPlan, TopUp
from shared.jobs.reading import JOB_ID, JobReader, StageInfo, read_jobs
from shared.jobs.state import JobRecord, ShardRecord, ShardState, StageState

STAGE_COUNTS = ("total", "queued", "running", "done", "failed", "cancelled")


def stage_status(state: StageState) -> StageStatus:
    if state.skipped:
        return "skipped"
    if state.idle and state.failed:
        return "failed"
    if state.idle and state.cancelled:
        return "cancelled"
    if state.terminal:
        return "done"
    if state.running or state.done:
        return "running"
    return "queued" if state.total else "waiting"


def view_stage(row: StageInfo) -> Stage:
    """A stage has finished when all its shards have finished and no more will be added."""
    state = row.state
    numbers = state.model_dump(include={*STAGE_COUNTS, "closed", "counts"})
    times = {"started_at": state.first_start, "finished_at": state.last_end if state.terminal else None}
    return Stage(id=row.id, task=row.task, status=stage_status(state), **numbers, **times)


def view_summary(job: JobRecord, rows: Sequence[StageInfo]) -> JobSummary:
    sums = {name: sum(getattr(row.state, name) for row in rows) for name in ("done", "total", "failed")}
    running = [row.id for row in rows if row.state.running]
    return JobSummary.model_validate(
        {**job.model_dump(mode="json", exclude={"spec"}), "stage": running, "progress": sums}
    )


def view_event(event: Event, job_id: str) -> JobEvent:
    return JobEvent(
        id=event.id,
        type=event.type,
        name=event.name,
        job_id=job_id,
        stage=event.stage or None,
        shard=int(event.shard) if event.shard else None,
        created_at=event.at,
        data=event.data,
    )


REPORT_TASK = "evaluation.score"
REPORT_NAMES = {"report": "report.json", "markdown": "report.md", "html": "report.html", "terminal": "report.txt"}
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
CONTENT_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".yaml": "application/yaml",
    ".sqlite": "application/vnd.sqlite3",
}
NamedArtifacts = dict[str, tuple[Artifact, ObjectRef]]


def find_single_shard_stages(plan: JobPlan) -> set[str]:
    """Stages whose outputs need no shard in their names: those with one shard, and topped-up ones.

    Of a topped-up stage, only the last shard's outputs count.
    """
    single: set[str] = set()
    for stage in plan.stages:
        source = stage.source
        fixed = isinstance(source, FixedShards) and len(source.shards) == 1
        if fixed or isinstance(source, TopUp) or (isinstance(source, EachShard) and source.stage in single):
            single.add(stage.id)
    return single


def name_artifacts(plan: JobPlan, rows: Iterable[ShardRecord]) -> NamedArtifacts:
    """Every output of the finished shards by its name.

    `{stage}/{output}` for single-shard stages, `{stage}/{shard}/{output}` for others; the first report's files are
    `report.json`, `report.md`, `report.html` and `report.txt`.
    """
    single, tasks = find_single_shard_stages(plan), {stage.id: stage.task for stage in plan.stages}
    found: NamedArtifacts = {}
    for row in rows:
        if row.state is not ShardState.DONE:
            continue
        for output, ref in row.outputs.items():
            name = f"{row.stage}/{output}" if row.stage in single else f"{row.stage}/{row.shard}/{output}"
            report = REPORT_NAMES.get(output) if tasks.get(row.stage) == REPORT_TASK else None
            # Only the first report gets the short name; others keep the name of their stage.
            if report and report not in found:
                name = report
            found[name] = (make_artifact(name, row, ref), ref)
    return found


def make_artifact(name: str, row: ShardRecord, ref: ObjectRef) -> Artifact:
    suffix = PurePosixPath(ref.key).suffix
    stem = UNSAFE.sub("-", name).strip(".-") or "artifact"
    return Artifact(
        name=name,
        filename=stem if stem.endswith(suffix) else stem + suffix,
        content_type=CONTENT_TYPES.get(suffix, "application/octet-stream"),
        size=ref.size,
        sha256=ref.sha256,
        stage=row.stage,
        shard=row.shard,
    )


def find_artifacts(job: JobReader, *, single_only: bool = False) -> NamedArtifacts:
    plan = job.plan()
    if plan is None:
        return {}
    single = find_single_shard_stages(plan)
    names = [stage.id for stage in plan.stages if not single_only or stage.id in single]
    return name_artifacts(plan, job.shards(names))


def view_job(job: JobReader) -> Job:
    stages = job.stages()
    return Job(
        **dict(view_summary(job.record, stages)),
        spec=job.record.spec,
        stages=[view_stage(stage) for stage in stages],
        artifacts=[artifact for artifact, _ in find_artifacts(job, single_only=True).values()],
        archived=job.archived is not None,
    )


def find_specs(backend: Backend, text: str) -> Iterator[tuple[JobRecord, AnySpec]]:
    """Jobs in Redis whose spec contains the text. A spec that cannot be parsed is skipped: it uses nothing."""
    for job in read_jobs(backend.jobs, backend.jobs.job_ids()):
        if text in json.dumps(job.spec):  # parsing all specs would take seconds
            with suppress(SpecError):
                yield job, parse_spec(job.spec)


def find_job(job_id: str, backend: Backend = Depends(get_backend)) -> JobReader:
    if not JOB_ID.fullmatch(job_id):
        raise NotFoundError("there is no job of that name; list them with: sense jobs", code="job_not_found")
    return JobReader(backend.jobs, backend.objects, job_id)


CurrentJob = Annotated[JobReader, Depends(find_job)]
