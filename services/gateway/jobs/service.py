"""One job, wherever it is known: in Redis, or in the archive once Redis has lost it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from fastapi import Depends

from services.gateway.backend import Backend, get_backend
from shared.api.resources import Artifact, Job, JobError, JobEvent, JobSummary, Progress, Stage, StageStatus
from shared.contracts.base import ObjectRef
from shared.errors import NotFoundError
from shared.jobs.events import Event, JobEvents
from shared.jobs.plan import EachShard, FixedShards, JobPlan, TopUp
from shared.jobs.reading import (
    JOB_ID,
    ArchivedJob,
    StageInfo,
    read_archived_events,
    read_archived_job,
    read_archived_shards,
    read_stages,
)
from shared.jobs.state import DAMAGE_ERRORS, JobRecord, ShardRecord, ShardState, StageState


def stage_status(state: StageState) -> StageStatus:
    """One word for a stage."""
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
    """A stage; it has finished when none of its shards is left and no more will come."""
    state = row.state
    return Stage(
        id=row.id,
        task=row.task,
        status=stage_status(state),
        total=state.total,
        queued=state.queued,
        running=state.running,
        done=state.done,
        failed=state.failed,
        cancelled=state.cancelled,
        closed=state.closed,
        counts=state.counts,
        started_at=state.first_start,
        finished_at=state.last_end if state.terminal else None,
    )


def view_progress(rows: Sequence[StageInfo]) -> Progress:
    """Sums over the stages."""
    return Progress(
        done=sum(row.state.done for row in rows),
        total=sum(row.state.total for row in rows),
        failed=sum(row.state.failed for row in rows),
    )


def view_summary(job: JobRecord, rows: Sequence[StageInfo]) -> JobSummary:
    """A job as lists show it."""
    return JobSummary(
        id=job.id,
        kind=job.kind,
        name=job.name,
        status=job.status.value,
        epoch=job.epoch,
        stage=[row.id for row in rows if row.state.running],
        progress=view_progress(rows),
        error=JobError(code=job.error.code, message=job.error.message) if job.error else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        request_id=job.request_id,
        owner=job.owner,
    )


def view_job(
    job: JobRecord, rows: Sequence[StageInfo], artifacts: Sequence[Artifact], *, archived: bool = False
) -> Job:
    """A whole job."""
    return Job(
        **dict(view_summary(job, rows)),
        spec=job.spec,
        stages=[view_stage(row) for row in rows],
        artifacts=list(artifacts),
        archived=archived,
    )


def view_event(event: Event, job_id: str) -> JobEvent:
    """A record of a job's stream."""
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
    """Stages whose outputs need no shard in their names: they have one shard whatever happens, or, where they are
    topped up, their last shard's outputs are the ones that count."""
    single: set[str] = set()
    for stage in plan.stages:
        source = stage.source
        fixed = isinstance(source, FixedShards) and len(source.shards) == 1
        if fixed or isinstance(source, TopUp) or (isinstance(source, EachShard) and source.stage in single):
            single.add(stage.id)
    return single


def name_artifacts(plan: JobPlan, rows: Iterable[ShardRecord]) -> NamedArtifacts:
    """Every output of the finished rows by its name, in the rows' order.

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
            if report and report not in found:
                name = report
            found[name] = (make_artifact(name, row, ref), ref)
    return found


def make_artifact(name: str, row: ShardRecord, ref: ObjectRef) -> Artifact:
    """What a caller is told of an output."""
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


class JobReader:
    """Raises `NotFoundError` (code job_not_found) when it is made for a job that nobody knows."""

    def __init__(self, backend: Backend, job_id: str) -> None:
        self.backend = backend
        self.job_id = job_id
        self.archived: ArchivedJob | None = None
        try:
            self.record: JobRecord = backend.jobs.shown_job(job_id)
        except NotFoundError:
            self.archived = read_archived_job(backend.objects, job_id)
            self.record = self.archived.job

    @property
    def terminal(self) -> bool:
        """Whether the job had ended when it was last looked at."""
        return self.record.status.terminal

    def look(self) -> bool:
        """Looks again; whether the job has ended."""
        if self.archived is None:
            self.record = self.backend.jobs.shown_job(self.job_id)
        return self.terminal

    def plan(self) -> JobPlan | None:
        """The compiled plan, or None before there is one, and where it cannot be read: the job's error says so."""
        if self.archived:
            return self.archived.plan
        try:
            return self.backend.jobs.plan(self.job_id)
        except DAMAGE_ERRORS:
            return None

    def rows(self, stages: list[str]) -> list[ShardRecord]:
        """The rows of these stages, in their order."""
        if self.archived:
            return list(read_archived_shards(self.backend.objects, self.job_id, stages))
        return [row for stage in stages for row in self.backend.jobs.readable_shards(self.job_id, stage)]

    def artifacts(self, *, single_only: bool = False) -> NamedArtifacts:
        """Outputs by name; `single_only` leaves out stages of many shards."""
        plan = self.plan()
        if plan is None:
            return {}
        single = find_single_shard_stages(plan)
        names = [stage.id for stage in plan.stages if not single_only or stage.id in single]
        return name_artifacts(plan, self.rows(names))

    def events(self, after: str, limit: int) -> list[Event]:
        """Up to `limit` events after that id, oldest first."""
        if self.archived is None:
            try:
                return JobEvents(self.backend.jobs.client, self.backend.jobs.prefix, self.job_id).after(after, limit)
            except DAMAGE_ERRORS:
                return []
        facts = read_archived_events(self.backend.objects, self.job_id)
        return [fact for fact in facts if stream_position(fact.id) > stream_position(after)][:limit]

    def view(self) -> Job:
        """The job as the API shows it."""
        rows = self.archived.stages if self.archived else read_stages(self.backend.jobs, [self.job_id])[self.job_id]
        artifacts = [artifact for artifact, _ in self.artifacts(single_only=True).values()]
        return view_job(self.record, rows, artifacts, archived=self.archived is not None)


def stream_position(stream_id: str) -> tuple[int, int]:
    """A stream id as numbers, in the stream's order."""
    time, _, number = stream_id.partition("-")
    return int(time), int(number or 0)


def find_job(job_id: str, backend: Backend = Depends(get_backend)) -> JobReader:
    """The job that the address names, for routes. Raises `NotFoundError`."""
    if not JOB_ID.fullmatch(job_id):
        raise NotFoundError("there is no job of that name; list them with: sense jobs", code="job_not_found")
    return JobReader(backend, job_id)
