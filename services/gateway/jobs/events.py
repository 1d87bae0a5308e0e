"""A job's events: as a list, and as a stream that a reader resumes by the last id that it saw."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import sleep, to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from services.gateway.backend import Backend, CurrentBackend
from services.gateway.http.access import READ, Caller, CurrentCaller, GuardedRoute
from services.gateway.http.limits import ConcurrencyLimit, GatewayFullError, TooManyOpenError
from services.gateway.jobs.service import CurrentJob, view_event
from shared.api.resources import EventList
from shared.errors import SenseError
from shared.jobs.events import Event
from shared.jobs.reading import JobReader
from shared.logging import get_logger

RECONNECT_MS = 1000
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
BATCH = 500
STREAMS_AT_FULL_PACE = 16  # up to this many streams poll every `poll_s`
STREAM_ID = r"^\d{1,15}(-\d{1,15})?$"
After = Annotated[str, Query(pattern=STREAM_ID, description="an event's id")]
LastEventId = Annotated[str | None, Header(pattern=STREAM_ID)]
router = APIRouter(prefix="/v1/jobs", tags=["events"], route_class=GuardedRoute)
log = get_logger()


@router.get("/{job_id}/events", dependencies=READ, summary="List a job's events, oldest first")
def list_events(job: CurrentJob, after: After = "0", limit: Annotated[int, Query(ge=1, le=500)] = 100) -> EventList:
    """A page of events. The archive keeps no progress."""
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
    request: Request,
    job: CurrentJob,
    backend: CurrentBackend,
    caller: CurrentCaller,
    after: After = "0",
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events; a comment every 15 seconds; ends after the job's end, or in ten minutes at the most.

    A reader goes on where it was by `Last-Event-ID`. 429 where the key has as many streams open as it may.
    """
    limit: ConcurrencyLimit = request.app.state.streams
    limit.check(caller)
    events = follow_events(backend, job, last_event_id or after, limit)
    return EventSourceResponse(limit_streams(limit, caller, events), headers=STREAM_HEADERS)


async def limit_streams(limit: ConcurrencyLimit, caller: Caller, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Holds a slot for the stream. It is empty if others took the last slot first: the reader reconnects."""
    try:
        with limit.slot(caller):
            async for data in events:
                yield data
    except (TooManyOpenError, GatewayFullError) as error:
        log.info("events.turned_away", reason=error.message)


async def follow_events(backend: Backend, job: JobReader, last: str, limit: ConcurrencyLimit) -> AsyncIterator[bytes]:
    """The stream's bytes. Comments keep a quiet connection alive and reveal that a reader has left."""
    settings = backend.settings
    yield format_sse_event(retry=RECONNECT_MS, comment="events")
    said = began = time.monotonic()
    while (now := time.monotonic()) - began < settings.stream_s and not backend.stopping.is_set():
        ended, batch = await to_thread.run_sync(read_new_events, job, last)
        for event in batch:
            data = view_event(event, job.job_id).model_dump_json()
            yield format_sse_event(id=event.id, event=event.type, data_str=data)
            last, said = event.id, now
        # After the end the loop goes on until a batch is empty: one batch may not hold all events.
        if ended and not batch:
            return
        if now - said >= settings.heartbeat_s:
            yield KEEPALIVE_COMMENT
            said = now
        if not batch:
            await sleep(settings.poll_s * max(1.0, limit.sum / STREAMS_AT_FULL_PACE))  # many streams poll less often


def read_new_events(job: JobReader, last: str) -> tuple[bool, list[Event]]:
    """Whether the job has ended, and its new events. The status is read first, so that no event is missed."""
    try:
        return job.refresh(), job.events(last, BATCH)
    except SenseError as error:
        log.warning("events.broken_off", job=job.job_id, error=error.message)
        return True, []
