"""The sandbox over internal HTTP, for calls that somebody waits for: run one SQL, take a database in.

It is for our own services: `shared.http.guard`. Errors are `{"code", "message"}`; SQL that fails is an answer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from services.sandbox.asked import router
from services.sandbox.desk import Desk, caller_of, get_desk, owner_of
from services.sandbox.intake import TooLargeError
from shared.catalog.databases import Upload
from shared.client.models import DATABASE_NAME, Executed, ExecuteRequest
from shared.contracts.refs import Owner
from shared.errors import CancelledError, ConflictError, InvalidInputError, SenseError, UnavailableError
from shared.http.guard import Guard, GuardMiddleware
from shared.logging import get_logger
from shared.parsing import check_json
from shared.settings import SandboxSettings
from shared.storage.store import ObjectStore

MOST_JSON_BYTES = 1_000_000
FILE_TYPES = frozenset({"application/vnd.sqlite3", "application/x-sqlite3", "application/octet-stream", ""})
WRITE_BYTES = 1 << 20
RETRY_AFTER_S = "2"
IDLE_S = 30.0
Name = Annotated[str, Query(pattern=DATABASE_NAME)]
log = get_logger()


class StalledError(SenseError):
    """The rest of an upload does not come."""

    code = "upload_stalled"
    http_status = 408


def create_app(
    objects: ObjectStore, settings: SandboxSettings, incoming: Path, walls: Mapping[str, bool] | None = None
) -> FastAPI:
    """The application; `incoming` is a folder for files that are being received, `walls` what /healthz says of them."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.desk = Desk(objects, settings, incoming)
        try:
            yield
        finally:
            app.state.desk.close()

    app = FastAPI(title="Sense sandbox", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.walls = dict(walls or {})
    app.add_exception_handler(SenseError, say_sense_error)
    app.add_exception_handler(RequestValidationError, say_bad_request)
    app.add_exception_handler(ClientDisconnect, say_nothing)
    app.add_middleware(GuardMiddleware, guard=Guard.from_settings(other_types={"/databases": FILE_TYPES}))
    app.post("/execute")(execute)
    app.post("/databases")(take_database)
    app.include_router(router)
    app.get("/healthz")(healthz)
    app.get("/readyz")(readyz)
    app.get("/metrics")(metrics)
    return app


async def execute(request: Request, desk: Annotated[Desk, Depends(get_desk)]) -> Executed:
    """Runs one SQL on one stored database."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_JSON_BYTES:
            raise TooLargeError(f"the body is above {MOST_JSON_BYTES} bytes; send less")
    check_json(body, "the request")
    try:
        asked = ExecuteRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        raise InvalidInputError(first_fault(error.errors()[0])) from error
    return await desk.execute(asked, caller_of(request))


async def take_database(request: Request, desk: Annotated[Desk, Depends(get_desk)], name: Name = "") -> JSONResponse:
    """Receives a file, checks it and stores it; 201 where it is new, 200 where its bytes are known."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > desk.settings.max_upload_bytes:
        raise TooLargeError(f"the database is above {desk.settings.max_upload_bytes} bytes")
    owner = owner_of(request)
    async with desk.uploads.taken(owner.id if owner else ""):
        upload, new = await received(request, desk, name, owner)
    log.info("database.taken", database=upload.id, bytes=upload.size, new=new)
    return JSONResponse(upload.model_dump(mode="json"), status_code=201 if new else 200)


async def received(request: Request, desk: Desk, name: str, owner: Owner | None) -> tuple[Upload, bool]:
    """Writes what arrives, a megabyte at a time; a caller who hangs up leaves nothing behind."""
    with desk.intake.arrival() as arrival:
        waiting = bytearray()
        async for chunk in steady(request.stream()):
            waiting += chunk
            if len(waiting) >= WRITE_BYTES or not arrival.size:
                await desk.off_loop(arrival.add, bytes(waiting))
                waiting.clear()
        await desk.off_loop(arrival.add, bytes(waiting))
        return await desk.off_loop(desk.intake.take, arrival, name, owner)


async def steady(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks; a sender who is silent for `IDLE_S` holds no slot any longer. Raises StalledError."""
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise StalledError(f"nothing of the file arrived for {IDLE_S} s; send it again") from None
        yield chunk


async def healthz(request: Request) -> dict[str, object]:
    """Asks nobody else; tells the walls that children found when the process started."""
    return {"status": "ok", "walls": request.app.state.walls}


async def readyz(desk: Annotated[Desk, Depends(get_desk)]) -> dict[str, str]:
    """Asks the object store; children are started when they are needed."""
    await desk.off_loop(desk.objects.exists, "readyz")
    return {"status": "ok"}


async def metrics() -> Response:
    """Outcomes of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def first_fault(fault: object) -> str:
    """One sentence for a field that does not fit."""
    assert isinstance(fault, dict)
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])


async def say_sense_error(_: Request, error: Exception) -> JSONResponse:
    """Code and sentence."""
    assert isinstance(error, SenseError)
    if isinstance(error, CancelledError | ConflictError):  # its pool was closed under it
        error = UnavailableError("the sandbox is being stopped; try again in a moment", code="sandbox_stopping")
    headers = {"Retry-After": RETRY_AFTER_S} if error.http_status in (429, 503) else None
    return JSONResponse({"code": error.code, "message": error.message}, status_code=error.http_status, headers=headers)


async def say_bad_request(_: Request, error: Exception) -> JSONResponse:
    """A parameter that does not fit."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"code": "invalid_request", "message": first_fault(error.errors()[0])}, status_code=422)


async def say_nothing(_: Request, error: Exception) -> Response:
    """The caller hung up: nobody reads an answer."""
    log.info("http.left", error=type(error).__name__)
    return Response(status_code=400)
