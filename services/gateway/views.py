"""What the store knows, as the API shows it: pure."""

from collections.abc import Sequence

from services.gateway.listing import StageRow
from shared.client.models import Artifact, Job, JobError, JobEvent, JobSummary, Progress, Stage, StageStatus
from shared.jobs.events import Event
from shared.jobs.state import JobRecord, StageState


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


def view_stage(row: StageRow) -> Stage:
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


def view_progress(rows: Sequence[StageRow]) -> Progress:
    """Sums over the stages."""
    return Progress(
        done=sum(row.state.done for row in rows),
        total=sum(row.state.total for row in rows),
        failed=sum(row.state.failed for row in rows),
    )


def view_summary(job: JobRecord, rows: Sequence[StageRow]) -> JobSummary:
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


def view_job(job: JobRecord, rows: Sequence[StageRow], artifacts: Sequence[Artifact], *, archived: bool = False) -> Job:
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
