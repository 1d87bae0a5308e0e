"""A job's artifacts: their list, and their bytes, streamed from the object store."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from services.gateway.access import READ, GuardedRoute
from services.gateway.jobs_routes import Known
from shared.client.models import ArtifactList
from shared.errors import NotFoundError

# Reports hold text that models wrote: a page of them runs no script and asks no other server.
PAGE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SHOWN = ("text/html", "text/markdown", "text/plain", "application/json")
router = APIRouter(prefix="/v1/jobs", tags=["artifacts"], route_class=GuardedRoute)


@router.get("/{job_id}/artifacts", dependencies=READ, summary="List a job's artifacts")
def list_artifacts(job: Known) -> ArtifactList:
    """Every output of every finished shard."""
    return ArtifactList(data=[artifact for artifact, _ in job.artifacts().values()])


@router.get(
    "/{job_id}/artifacts/{name:path}",
    dependencies=READ,
    summary="Fetch an artifact",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_artifact(
    job: Known, name: str, if_none_match: Annotated[str | None, Header(max_length=200)] = None
) -> Response:
    """The bytes; `ETag` is their SHA-256."""
    found = job.artifacts().get(name)
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
    chunks = opened(job.backend.objects.open_chunks(ref.key))
    headers["Content-Length"] = str(artifact.size)
    return StreamingResponse(chunks, media_type=artifact.content_type, headers=headers)


def opened(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks, with the first one read: an absent object is an answer, not a broken stream."""
    return chain([next(chunks, b"")], chunks)
