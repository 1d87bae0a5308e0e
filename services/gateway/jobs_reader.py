"""One job, wherever it is known: in Redis, or in the archive once Redis has lost it."""

from fastapi import Depends

from services.gateway.archive import Archived, archived_facts, archived_rows, read_archived
from services.gateway.artifacts import Found, name_artifacts, single_stages
from services.gateway.backend import Backend, get_backend
from services.gateway.listing import JOB_ID, stages_of
from services.gateway.views import view_job
from shared.client.models import Job
from shared.errors import NotFoundError
from shared.jobs.events import Event, JobEvents
from shared.jobs.plan import JobPlan
from shared.jobs.state import DAMAGE_ERRORS, JobRecord, ShardRecord


class JobReader:
    """Raises `NotFoundError` (code job_not_found) when it is made for a job that nobody knows."""

    def __init__(self, backend: Backend, job_id: str) -> None:
        self.backend = backend
        self.job_id = job_id
        self.archived: Archived | None = None
        try:
            self.record: JobRecord = backend.jobs.shown_job(job_id)
        except NotFoundError:
            self.archived = read_archived(backend.objects, job_id)
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
            return list(archived_rows(self.backend.objects, self.job_id, stages))
        return [row for stage in stages for row in self.backend.jobs.readable_shards(self.job_id, stage)]

    def artifacts(self, *, single_only: bool = False) -> Found:
        """Outputs by name; `single_only` leaves out stages of many shards."""
        plan = self.plan()
        if plan is None:
            return {}
        single = single_stages(plan)
        names = [stage.id for stage in plan.stages if not single_only or stage.id in single]
        return name_artifacts(plan, self.rows(names))

    def events(self, after: str, limit: int) -> list[Event]:
        """Up to `limit` events after that id, oldest first."""
        if self.archived is None:
            try:
                return JobEvents(self.backend.jobs.client, self.backend.jobs.prefix, self.job_id).after(after, limit)
            except DAMAGE_ERRORS:
                return []
        facts = archived_facts(self.backend.objects, self.job_id)
        return [fact for fact in facts if place(fact.id) > place(after)][:limit]

    def view(self) -> Job:
        """The job as the API shows it."""
        rows = self.archived.stages if self.archived else stages_of(self.backend.jobs, [self.job_id])[self.job_id]
        artifacts = [artifact for artifact, _ in self.artifacts(single_only=True).values()]
        return view_job(self.record, rows, artifacts, archived=self.archived is not None)


def place(stream_id: str) -> tuple[int, int]:
    """A stream id as numbers, in the stream's order."""
    time, _, number = stream_id.partition("-")
    return int(time), int(number or 0)


def find_job(job_id: str, backend: Backend = Depends(get_backend)) -> JobReader:
    """The job that the address names, for routes. Raises `NotFoundError`."""
    if not JOB_ID.fullmatch(job_id):
        raise NotFoundError("there is no job of that name; list them with: sense jobs", code="job_not_found")
    return JobReader(backend, job_id)
