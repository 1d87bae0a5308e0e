"""The SQL service over internal HTTP: turns questions into SQL.

It is for our services only: `shared.http_guard`. Errors are `{"code", "message"}`; SQL that fails is an answer.
"""

import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect

from services.serving.settings import SqlServiceSettings
from services.serving.sql.answering import SandboxClient, SqlAnswerer
from services.serving.sql.models import ChatEngine
from shared.api.sql import SqlAnswer, SqlRequest
from shared.client.internal import internal_headers
from shared.errors import SenseError, UnavailableError
from shared.http.guard import Guard, GuardMiddleware
from shared.http.server import cancel_on_disconnect
from shared.http.slots import CALLER_HEADER, Slots
from shared.logging import get_logger
from shared.storage.store import ObjectStore

RETRY_AFTER_S = "2"
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

    app = FastAPI(title="Sense serving", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.slots = Slots(settings.at_once, wait_s=0.0, waiting=0, what="the serving service", busy=BusyError)
    app.add_exception_handler(SenseError, sense_error_response)
    app.add_exception_handler(RequestValidationError, bad_request_response)
    app.add_exception_handler(ClientDisconnect, ignore_disconnect)
    app.add_middleware(GuardMiddleware, guard=Guard.from_settings())
    app.post("/sql")(write_sql)
    app.get("/healthz")(healthz)
    app.get("/readyz")(readyz)
    app.get("/metrics")(metrics)
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


async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def sense_error_response(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SenseError)
    headers = {"Retry-After": RETRY_AFTER_S} if error.http_status in (429, 503) else None
    return JSONResponse({"code": error.code, "message": error.message}, status_code=error.http_status, headers=headers)


async def bad_request_response(_: Request, error: Exception) -> JSONResponse:
    """The gateway validates too, so this is for other callers."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return JSONResponse({"code": "invalid_request", "message": f"{where}: {fault['msg']}"}, status_code=422)


async def ignore_disconnect(_: Request, error: Exception) -> Response:
    """Nobody reads an answer."""
    log.info("http.left", error=type(error).__name__)
    return Response(status_code=400)
