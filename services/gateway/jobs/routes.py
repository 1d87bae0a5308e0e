"""/v1/jobs and /v1/specs: submit, check, list, cancel and retry jobs; their plans, shards and artifacts."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.gateway.backend import CurrentBackend
from services.gateway.http.access import READ, SUBMIT, CurrentCaller, GuardedRoute
from services.gateway.http.limits import check_day_budget, check_owner
from services.gateway.http.paging import After, Limit, RecordSource, parse_cursor, read_page
from services.gateway.jobs.service import CurrentJob, find_artifacts, find_job, view_job, view_summary
from services.gateway.jobs.submission import read_spec_body, record_job, validate_spec
from shared.api.browsing import (
    CheckedSpec,
    PlanStage,
    PlanTarget,
    PlanView,
    ShardList,
    ShardStatus,
    ShardView,
)
from shared.api.resources import ArtifactList, Job, JobList, JobStatusName
from shared.contracts.registry import CONTRACTS
from shared.errors import ConflictError, NotFoundError
from shared.http.problems import read_request_id
from shared.jobs.plan import EachShard, StagePlan, Waves
from shared.jobs.reading import read_job_page, read_stages
from shared.jobs.state import ShardRecord

SPEC_SCHEMA = {"$ref": "#/components/schemas/Spec"}
SPEC_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The spec of the job",
        "content": {"application/json": {"schema": SPEC_SCHEMA}, "application/yaml": {"schema": SPEC_SCHEMA}},
    }
}
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
Kind = Annotated[str | None, Query(pattern=r"^[a-z]+$")]
router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)


@router.post("", dependencies=SUBMIT, status_code=202, openapi_extra=SPEC_BODY, summary="Submit a job")
def submit_job(
    request: Request,
    response: Response,
    backend: CurrentBackend,
    caller: CurrentCaller,
    data: Annotated[Any, Depends(read_spec_body)],
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Records a job of the caller's. With an `Idempotency-Key`, the same body gives the same job for 24 hours."""
    spec = validate_spec(backend, data)
    job_id, new = record_job(backend, caller, spec, read_request_id(request) or "", idempotency_key or "")
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    if not new:
        response.headers["Idempotency-Replayed"] = "true"
    return view_job(find_job(job_id, backend))


@router.get("", dependencies=READ, summary="List jobs, newest first")
def list_jobs(
    backend: CurrentBackend,
    kind: Kind = None,
    status: JobStatusName | None = None,
    owner: Annotated[str | None, Query(max_length=64, description="the id or the name of a key")] = None,
    after: Annotated[str | None, Query(description="the `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JobList:
    """A page of jobs without their stages."""
    page = read_job_page(backend.jobs, kind=kind, status=status, owner=owner, after=after, limit=limit)
    stages = read_stages(backend.jobs, [job.id for job in page.jobs])
    data = [view_summary(job, stages[job.id]) for job in page.jobs]
    return JobList(data=data, has_more=page.has_more, last_id=data[-1].id if data else None)


@router.get("/{job_id}", dependencies=READ, summary="Look at a job")
def get_job(job: CurrentJob) -> Job:
    """A job with its stages, from the archive where Redis has lost it."""
    return view_job(job)


@router.post(
    "/{job_id}/cancel", dependencies=SUBMIT, status_code=202, summary="Cancel a job", responses={200: {"model": Job}}
)
def cancel_job(job: CurrentJob, caller: CurrentCaller, response: Response) -> Job:
    """202 while it is cancelling; 200 where it had ended already. 403 where it is another key's, but for admins."""
    check_owner(caller, job.record.owner, f"job {job.job_id}")
    if job.archived is None:
        job.store.cancel(job.job_id)
        job.refresh()
    if job.terminal:
        response.status_code = 200
    return view_job(job)


@router.post("/{job_id}/retry", dependencies=SUBMIT, status_code=202, summary="Retry a failed or cancelled job")
def retry_job(job: CurrentJob, backend: CurrentBackend, caller: CurrentCaller) -> Job:
    """Runs the failed and cancelled shards again, in the same job. 403 where it is another key's, but for admins."""
    check_owner(caller, job.record.owner, f"job {job.job_id}")
    if job.archived is not None:
        raise ConflictError(f"job {job.job_id} is only in the archive; submit its spec again")
    if not job.terminal:
        raise ConflictError(f"job {job.job_id} is {job.record.status}; only a failed or cancelled job can be retried")
    own = job.record.owner is not None and job.record.owner == caller.owner
    if own:  # an admin who retries another's job spends nothing of their own, and the owner's day goes on as it stood
        check_day_budget(backend, caller, job.record.spec, again=True)
    job.store.retry(job.job_id, most=caller.limits.jobs if own and caller.limits else None)
    job.refresh()
    return view_job(job)


specs_router = APIRouter(prefix="/v1/specs", tags=["jobs"], route_class=GuardedRoute)


@specs_router.post("/check", dependencies=SUBMIT, openapi_extra=SPEC_BODY, summary="Check a spec without submitting it")
def check_spec(backend: CurrentBackend, data: Annotated[Any, Depends(read_spec_body)]) -> CheckedSpec:
    """The spec with its defaults; otherwise every fault with its path, as a submission would say them."""
    spec = validate_spec(backend, data)
    return CheckedSpec(kind=spec.kind, given=data, spec=spec.model_dump(mode="json"))


shards_router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)


@shards_router.get("/{job_id}/plan", dependencies=READ, summary="Look at a job's plan")
def get_plan(job: CurrentJob) -> PlanView:
    """The stages and what each waits for."""
    plan = job.plan()
    if plan is None:
        return PlanView(job_id=job.job_id)
    return PlanView(job_id=job.job_id, lost_allowed=plan.lost_allowed, stages=[view_plan(one) for one in plan.stages])


def view_plan(stage: StagePlan) -> PlanStage:
    """Shows only the model's name of a stage's parameters."""
    source, model = stage.source, stage.params.get("model")
    target = source if isinstance(source, Waves) else None
    return PlanStage(
        id=stage.id,
        task=stage.task,
        queue=CONTRACTS[stage.task].queue.value,
        upstream=sorted(stage.upstream()),
        each=source.stage if isinstance(source, EachShard) else None,
        target=PlanTarget(stage=target.stage, count=target.count, amount=target.amount) if target else None,
        optional=stage.need is not None,
        device=stage.device.name if stage.device else None,
        model=model if isinstance(model, str) else None,
    )


@shards_router.get("/{job_id}/shards", dependencies=READ, summary="List a job's shards")
def list_shards(
    job: CurrentJob,
    stage: Annotated[str | None, Query(max_length=100)] = None,
    state: ShardStatus | None = None,
    after: After = None,
    limit: Limit = 20,
) -> ShardList:
    """Shards in plan order, with the error of those that were lost."""
    plan, start = job.plan(), parse_cursor(after)
    stages = [one.id for one in (plan.stages if plan else []) if stage is None or one.id == stage]

    def sources() -> Iterator[RecordSource[ShardRecord]]:
        for number, name in enumerate(stages[start.source :], start=start.source):
            for row in job.walk_shards(name, start.shard if number == start.source else 0):
                yield RecordSource(number, row.shard, partial(iter, [row]))

    page = read_page(sources(), start, limit, lambda row: view_shard(row) if state in (None, row.state.value) else None)
    return ShardList(data=page.data, has_more=page.has_more, last_id=page.last_id)


def view_shard(row: ShardRecord) -> ShardView:
    return ShardView.model_validate(row.model_dump(mode="json", exclude={"params", "outputs"}))


# Reports hold text that models wrote: a page of them runs no script and loads nothing from other servers.
PAGE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SHOWN = ("text/html", "text/markdown", "text/plain", "application/json")
artifacts_router = APIRouter(prefix="/v1/jobs", tags=["artifacts"], route_class=GuardedRoute)


@artifacts_router.get("/{job_id}/artifacts", dependencies=READ, summary="List a job's artifacts")
def list_artifacts(job: CurrentJob) -> ArtifactList:
    """Every output of every finished shard."""
    return ArtifactList(data=[artifact for artifact, _ in find_artifacts(job).values()])


@artifacts_router.get(
    "/{job_id}/artifacts/{name:path}",
    dependencies=READ,
    summary="Fetch an artifact",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_artifact(
    job: CurrentJob, name: str, if_none_match: Annotated[str | None, Header(max_length=200)] = None
) -> Response:
    """The bytes; `ETag` is their SHA-256."""
    found = find_artifacts(job).get(name)
    if found is None:
        message = f"job {job.job_id} has no artifact of that name; list them with: sense artifacts {job.job_id}"
        raise NotFoundError(message, code="artifact_not_found")
    artifact, ref = found
    kind = "inline" if artifact.content_type.startswith(SHOWN) else "attachment"
    headers = {
        "ETag": f'"{artifact.sha256}"',
        "Content-Disposition": f'{kind}; filename="{artifact.filename}"',
        "Content-Security-Policy": PAGE_POLICY,
        "Cache-Control": "private, no-cache",
    }
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    chunks = open_first_chunk(job.objects.open_chunks(ref.key))
    headers["Content-Length"] = str(artifact.size)
    return StreamingResponse(chunks, media_type=artifact.content_type, headers=headers)


def open_first_chunk(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Reads the first chunk at once, so that a missing object is an error and not a broken stream."""
    return chain([next(chunks, b"")], chunks)
