"""A job's events: as a list, and as a stream that a reader resumes by the last id it saw."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import sleep, to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from services.gateway.http.access import READ, Caller, CurrentCaller, GuardedRoute
from services.gateway.http.limits import ConcurrencyLimit, GatewayFullError, TooManyOpenError
from services.gateway.jobs.routes import CurrentJob
from services.gateway.jobs.service import JobReader, view_event
from shared.api.resources import EventList
from shared.errors import SenseError
from shared.jobs.events import Event
from shared.logging import get_logger

RECONNECT_MS = 1000
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
BATCH = 500
STREAMS_AT_FULL_PACE = 16  # so many streams look every `poll_s`
STREAM_ID = r"^\d{1,15}(-\d{1,15})?$"
After = Annotated[str, Query(pattern=STREAM_ID, description="an event's id")]
LastEventId = Annotated[str | None, Header(pattern=STREAM_ID)]
router = APIRouter(prefix="/v1/jobs", tags=["events"], route_class=GuardedRoute)
log = get_logger()


@router.get("/{job_id}/events", dependencies=READ, summary="List a job's events, oldest first")
def list_events(job: CurrentJob, after: After = "0", limit: Annotated[int, Query(ge=1, le=500)] = 100) -> EventList:
    """A page of events. The archive keeps facts only."""
    found = job.events(after, limit + 1)
    data = [view_event(event, job.job_id) for event in found[:limit]]
    return EventList(data=data, has_more=len(found) > limit, last_id=data[-1].id if data else None)


@router.get(
    "/{job_id}/events/stream",
    dependencies=READ,
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Follow a job's events",
)
async def stream_events(
    request: Request, job: CurrentJob, caller: CurrentCaller, after: After = "0", last_event_id: LastEventId = None
) -> Response:
    """Server-sent events; a comment every 15 seconds; ends after the job's end, or in ten minutes at the most.

    A reader goes on where it was by `Last-Event-ID`. 429 where the key has as many streams open as it may.
    """
    gate: ConcurrencyLimit = request.app.state.streams
    gate.check(caller)
    return EventSourceResponse(limit_streams(gate, caller, job, last_event_id or after), headers=STREAM_HEADERS)


async def limit_streams(gate: ConcurrencyLimit, caller: Caller, job: JobReader, last: str) -> AsyncIterator[bytes]:
    """The stream's bytes, while it counts as open; none where others came first: the reader comes again."""
    try:
        with gate.slot(caller):
            async for data in follow_events(job, last, gate):
                yield data
    except (TooManyOpenError, GatewayFullError) as error:
        log.info("events.turned_away", reason=error.message)


async def follow_events(job: JobReader, last: str, gate: ConcurrencyLimit) -> AsyncIterator[bytes]:
    """The stream's bytes. Where nothing happens it says so now and then, and so learns of a reader who left."""
    settings = job.backend.settings
    yield format_sse_event(retry=RECONNECT_MS, comment="events")
    said = began = time.monotonic()
    while (now := time.monotonic()) - began < settings.stream_s and not job.backend.stopping.is_set():
        ended, batch = await to_thread.run_sync(read_new_events, job, last)
        for event in batch:
            data = view_event(event, job.job_id).model_dump_json()
            yield format_sse_event(id=event.id, event=event.type, data_str=data)
            last, said = event.id, now
        if ended and not batch:
            return
        if now - said >= settings.heartbeat_s:
            yield KEEPALIVE_COMMENT
            said = now
        if not batch:
            await sleep(settings.poll_s * max(1.0, gate.sum / STREAMS_AT_FULL_PACE))  # many streams look less often


def read_new_events(job: JobReader, last: str) -> tuple[bool, list[Event]]:
    """Status before events: where the job had ended and nothing is left, everything was read."""
    try:
        return job.look(), job.events(last, BATCH)
    except SenseError as error:
        log.warning("events.broken_off", job=job.job_id, error=error.message)
        return True, []
