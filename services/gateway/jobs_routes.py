"""/v1/jobs: submit, list, look, cancel, retry."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from services.gateway.access import READ, SUBMIT, AskedBy, Caller, GuardedRoute
from services.gateway.backend import Backend, get_backend
from services.gateway.body import read_spec_body
from services.gateway.checks import checked_spec
from services.gateway.jobs_reader import JobReader, find_job
from services.gateway.limits import admit_job, admit_spending, check_owner
from services.gateway.listing import find_page, stages_of
from services.gateway.problems import request_id
from services.gateway.views import view_summary
from shared.client.models import Job, JobList, JobStatus
from shared.contracts.spec import AnySpec
from shared.errors import ConflictError, InvalidInputError, LimitError

SPEC_SCHEMA = {"$ref": "#/components/schemas/Spec"}
SPEC_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The spec of the job",
        "content": {"application/json": {"schema": SPEC_SCHEMA}, "application/yaml": {"schema": SPEC_SCHEMA}},
    }
}
Known = Annotated[JobReader, Depends(find_job)]
Back = Annotated[Backend, Depends(get_backend)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
Kind = Annotated[str | None, Query(pattern=r"^[a-z]+$")]
router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)


@router.post("", dependencies=SUBMIT, status_code=202, openapi_extra=SPEC_BODY, summary="Submit a job")
def submit_job(
    request: Request,
    response: Response,
    backend: Back,
    caller: AskedBy,
    data: Annotated[Any, Depends(read_spec_body)],
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Records a job of the caller's. With an `Idempotency-Key`, the same body gives the same job for 24 hours."""
    spec = checked_spec(backend, data)
    job_id, new = record_job(backend, caller, spec, request_id(request) or "", idempotency_key or "")
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    if not new:
        response.headers["Idempotency-Replayed"] = "true"
    return JobReader(backend, job_id).view()


def record_job(backend: Backend, caller: Caller, spec: AnySpec, request: str, key: str) -> tuple[str, bool]:
    """The job's id, and whether it is new.

    Raises `InvalidInputError` where the idempotency key had another body, `LimitError` for more than the caller may.
    """
    try:
        admit_job(backend, caller, spec)
    except LimitError:
        if key and (known := backend.jobs.submitted(spec, key, caller.owner)):
            return known, False
        raise
    try:
        most = caller.limits.jobs if caller.limits else None
        return backend.jobs.submit(spec, request_id=request, idempotency_key=key, owner=caller.owner, most=most)
    except ConflictError as error:
        raise InvalidInputError(error.message, code=error.code) from error


@router.get("", dependencies=READ, summary="List jobs, newest first")
def list_jobs(
    backend: Back,
    kind: Kind = None,
    status: JobStatus | None = None,
    owner: Annotated[str | None, Query(max_length=64, description="the id or the name of a key")] = None,
    after: Annotated[str | None, Query(description="the `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JobList:
    """A page of jobs without their stages."""
    page = find_page(backend.jobs, kind=kind, status=status, owner=owner, after=after, limit=limit)
    stages = stages_of(backend.jobs, [job.id for job in page.jobs])
    data = [view_summary(job, stages[job.id]) for job in page.jobs]
    return JobList(data=data, has_more=page.has_more, last_id=data[-1].id if data else None)


@router.get("/{job_id}", dependencies=READ, summary="Look at a job")
def get_job(job: Known) -> Job:
    """A job with its stages, from the archive where Redis has lost it."""
    return job.view()


@router.post(
    "/{job_id}/cancel", dependencies=SUBMIT, status_code=202, summary="Cancel a job", responses={200: {"model": Job}}
)
def cancel_job(job: Known, caller: AskedBy, response: Response) -> Job:
    """202 while it is cancelling; 200 where it had ended already. 403 where it is another key's, but for admins."""
    check_owner(caller, job.record.owner, f"job {job.job_id}")
    if job.archived is None:
        job.backend.jobs.cancel(job.job_id)
        job.look()
    if job.terminal:
        response.status_code = 200
    return job.view()


@router.post("/{job_id}/retry", dependencies=SUBMIT, status_code=202, summary="Retry a failed or cancelled job")
def retry_job(job: Known, caller: AskedBy) -> Job:
    """Runs the failed and cancelled shards again, in the same job. 403 where it is another key's, but for admins."""
    check_owner(caller, job.record.owner, f"job {job.job_id}")
    if job.archived is not None:
        raise ConflictError(f"job {job.job_id} is only in the archive; submit its spec again")
    if not job.terminal:
        raise ConflictError(f"job {job.job_id} is {job.record.status}; only a failed or cancelled job can be retried")
    own = job.record.owner is not None and job.record.owner == caller.owner
    if own:  # an admin who retries another's job spends nothing of their own, and the owner's day goes on as it stood
        admit_spending(job.backend, caller, job.record.spec, again=True)
    job.backend.jobs.retry(job.job_id, most=caller.limits.jobs if own and caller.limits else None)
    job.look()
    return job.view()
