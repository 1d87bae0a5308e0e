"""The SQL service over internal HTTP: turns questions into SQL.

It is for our services only: `shared.http.guard`. Errors are `{"code", "message"}`; SQL that fails is an answer.
"""

import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request

from services.serving.settings import SqlServiceSettings
from services.serving.sql.answering import SandboxClient, SqlAnswerer
from services.serving.sql.models import ChatEngine
from shared.api.sql import SqlAnswer, SqlRequest
from shared.errors import UnavailableError
from shared.http.app import add_metrics_route, create_internal_app
from shared.http.client import internal_headers
from shared.http.server import cancel_on_disconnect
from shared.http.slots import CALLER_HEADER, Slots
from shared.logging import get_logger
from shared.storage.store import ObjectStore

CONNECT_S = 5.0
log = get_logger()


class BusyError(UnavailableError):
    code = "serving_busy"


def create_app(objects: ObjectStore, engine_url: str, sandbox_url: str, settings: SqlServiceSettings) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        timeout = httpx.Timeout(settings.engine_s, connect=CONNECT_S)
        limits = httpx.Limits(max_connections=2 * settings.at_once, max_keepalive_connections=settings.at_once)
        headers = internal_headers()
        async with httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=False) as http:
            app.state.answerer = SqlAnswerer(objects, ChatEngine(http, engine_url), SandboxClient(http, sandbox_url))
            yield

    app = create_internal_app("Sense serving", lifespan=lifespan)
    app.state.slots = Slots(settings.at_once, wait_s=0.0, waiting=0, what="the serving service", busy=BusyError)
    app.post("/sql")(write_sql)
    app.get("/healthz")(healthz)
    app.get("/readyz")(readyz)
    add_metrics_route(app)
    return app


async def write_sql(request: Request, body: SqlRequest) -> SqlAnswer:
    """Answers a question; a caller who disconnects ends the work on it."""
    state, caller = request.app.state, request.headers.get(CALLER_HEADER, "")[:100]
    async with state.slots.taken(caller):
        answer: SqlAnswer = await cancel_on_disconnect(request, state.answerer.answer(body, caller))
    log.info("sql.answered", model=answer.model, database=answer.database_id, ms=answer.elapsed_ms, n=body.n)
    return answer


async def healthz() -> dict[str, str]:
    return {"status": "ok"}


async def readyz(request: Request) -> dict[str, str]:
    """Checks the object store and the engine; 503 names what does not answer."""
    await request.app.state.answerer.probe()
    return {"status": "ok"}
