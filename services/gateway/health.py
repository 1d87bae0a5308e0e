"""Liveness, readiness and Prometheus metrics."""

import os
from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.gateway.backend import Backend, CurrentBackend
from services.gateway.http.access import METRICS, PUBLIC, GuardedRoute
from services.gateway.http.problems import PROBLEMS
from shared.api.resources import Fault
from shared.contracts.base import Queue
from shared.errors import SenseError
from shared.jobs.reading import IDS_AT_ONCE, read_kinds_and_statuses, read_stages
from shared.metrics import JOBS, QUEUE_DEPTH, REDIS_MEMORY, WORKER_SLOTS
from shared.processes.lifecycle import STACK_ID
from shared.redis import redis_errors

router = APIRouter(tags=["health"], route_class=GuardedRoute)
# Gauges are cleared and filled for each scrape; two at once would mix.
scraping = Lock()


@router.get("/healthz", dependencies=PUBLIC, summary="Is the process alive")
async def healthz() -> dict[str, str]:
    """Asks nobody else. `stack` is there where `sense up` started it: by it a command knows its own folder's stack."""
    stack = os.environ.get(STACK_ID)
    return {"status": "ok", "stack": stack} if stack else {"status": "ok"}


@router.get("/readyz", dependencies=PUBLIC, summary="Can it work", response_model=dict[str, Any])
def readyz(request: Request, backend: CurrentBackend) -> Any:
    """Asks Redis and the object store; 503 names the ones that do not answer."""
    probes: dict[str, Callable[[], None]] = {"redis": backend.probe_redis, "store": backend.probe_store}
    faults = []
    for name, probe in probes.items():
        try:
            probe()
        except SenseError as error:
            faults.append(Fault(path=name, message=error.message))
    if not faults:
        return {"status": "ok", "redis": "ok", "store": "ok"}
    reason = " and ".join(fault.path for fault in faults) + " cannot be used; see errors"
    return PROBLEMS.respond(request, 503, "not_ready", reason, faults=faults, headers={"Retry-After": "2"})


@router.get("/metrics", dependencies=METRICS, summary="Prometheus metrics", response_class=Response)
def metrics(backend: CurrentBackend) -> Response:
    """Jobs, queues and workers as they are now, and this process's own counters."""
    with scraping:
        fill_gauges(backend)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def fill_gauges(backend: Backend) -> None:
    store = backend.jobs
    jobs: Counter[tuple[str, str]] = Counter()
    ids = store.job_ids()
    for start in range(0, len(ids), IDS_AT_ONCE):
        known = read_kinds_and_statuses(store, ids[start : start + IDS_AT_ONCE])
        jobs.update((kind, status) for kind, status in known if kind is not None and status is not None)
    JOBS.clear()
    for labels, count in jobs.items():
        JOBS.labels(*labels).set(count)
    queued: Counter[str] = Counter()
    for rows in read_stages(store, store.active()).values():
        for row in rows:
            queued[row.queue] += row.state.queued
    living = backend.board.living()
    for queue in Queue:
        sent, running = store.in_flight(queue)
        for state, depth in (("queued", queued[queue.value]), ("sent", sent), ("running", running)):
            QUEUE_DEPTH.labels(queue.value, state).set(depth)
        WORKER_SLOTS.labels(queue.value).set(living[queue.value])
    with redis_errors():
        memory = store.client.info("memory")
    REDIS_MEMORY.labels("used").set(memory.get("used_memory", 0))
    REDIS_MEMORY.labels("limit").set(memory.get("maxmemory", 0) or memory.get("total_system_memory", 0))
