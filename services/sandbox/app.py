"""The sandbox's internal HTTP interface, for calls that somebody is waiting for.

It serves only the other services (`shared.http.guard`). Errors are problem details; SQL that fails is a normal
answer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from services.sandbox.building.databases import INVALID_DDL, build_ddl_database, split_script
from services.sandbox.execution.requests import Execution, ExecutionRequest
from services.sandbox.execution.sql_text import has_outer_order_by
from services.sandbox.intake.upload import TooLargeError
from services.sandbox.judging.comparison import ComparisonRule
from services.sandbox.judging.judge import now_ms
from services.sandbox.service import Caller, SandboxService, budget, caller_of, get_service, owner_of
from shared.api.resources import DATABASE_NAME, ExecuteRequest, ExecutionResult
from shared.api.sql import RunRequest, RunResponse, RunResult, ScriptRequest, ScriptResponse
from shared.catalog.databases import Upload
from shared.contracts.base import Owner
from shared.errors import CancelledError, ConflictError, InvalidInputError, SenseError, UnavailableError
from shared.http.app import add_metrics_route, create_internal_app
from shared.http.guard import Guard
from shared.http.problems import ProblemHandlers
from shared.logging import get_logger
from shared.metrics import OUTCOMES
from shared.parsing import check_json
from shared.settings import SandboxSettings
from shared.storage.store import ObjectStore

MOST_JSON_BYTES = 1_000_000
FILE_TYPES = frozenset({"application/vnd.sqlite3", "application/x-sqlite3", "application/octet-stream", ""})
WRITE_BYTES = 1 << 20
IDLE_S = 30.0
Service = Annotated[SandboxService, Depends(get_service)]
Name = Annotated[str, Query(pattern=DATABASE_NAME)]
log = get_logger()


class StalledError(SenseError):
    """The sender stopped in the middle of an upload."""

    code = "upload_stalled"
    http_status = 408


class SandboxProblems(ProblemHandlers):
    """While the service stops, its pool is closed under the last requests."""

    def respond_to(self, request: Request, error: SenseError) -> JSONResponse:
        if isinstance(error, CancelledError | ConflictError):
            error = UnavailableError("the sandbox is being stopped; try again in a moment", code="sandbox_stopping")
        return super().respond_to(request, error)


def create_app(
    objects: ObjectStore, settings: SandboxSettings, incoming: Path, walls: Mapping[str, bool] | None = None
) -> FastAPI:
    """`incoming` is the folder for files being received, `walls` is what /healthz reports."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = SandboxService(objects, settings, incoming)
        try:
            yield
        finally:
            app.state.service.close()

    guard = Guard.from_settings(other_types={"/databases": FILE_TYPES})
    app = create_internal_app("Sense sandbox", lifespan=lifespan, guard=guard, problems=SandboxProblems())
    app.state.walls = dict(walls or {})
    app.post("/execute")(execute)
    app.post("/databases")(take_database)
    app.post("/runs")(run_statements)
    app.post("/scripts")(build_from_script)
    app.get("/healthz")(healthz)
    app.get("/readyz")(readyz)
    add_metrics_route(app)
    return app


async def execute(request: Request, service: Service) -> ExecutionResult:
    # read by hand, so that a body is bounded and checked before it is parsed
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_JSON_BYTES:
            raise TooLargeError(f"the body is above {MOST_JSON_BYTES} bytes; send less")
    check_json(data, "the request")
    try:
        body = ExecuteRequest.model_validate_json(bytes(data))
    except ValidationError as error:
        raise InvalidInputError(first_fault(error.errors()[0])) from error
    return await service.execute(body, caller_of(request))


async def take_database(request: Request, service: Service, name: Name = "") -> JSONResponse:
    """Answers 201 for a new file and 200 for one that is stored already."""
    announced = request.headers.get("content-length", "")
    # refuse before a slot is taken; the bytes are counted anyway as they arrive
    if announced.isdecimal() and int(announced) > service.settings.max_upload_bytes:
        raise TooLargeError(f"the database is above {service.settings.max_upload_bytes} bytes")
    owner = owner_of(request)
    async with service.uploads.taken(owner.id if owner else ""):
        upload, new = await receive_file(request, service, name, owner)
    log.info("database.taken", database=upload.id, bytes=upload.size, new=new)
    return JSONResponse(upload.model_dump(mode="json"), status_code=201 if new else 200)


async def receive_file(
    request: Request, service: SandboxService, name: str, owner: Owner | None
) -> tuple[Upload, bool]:
    """Write the body to disk, a megabyte at a time; a caller who hangs up leaves nothing behind."""
    with service.intake.arrival() as arrival:
        waiting = bytearray()
        async for chunk in check_arriving(request.stream()):
            waiting += chunk
            # the first bytes go out at once: they show whether this can be a database
            if len(waiting) >= WRITE_BYTES or not arrival.size:
                await service.off_loop(arrival.add, bytes(waiting))
                waiting.clear()
        await service.off_loop(arrival.add, bytes(waiting))
        return await service.off_loop(service.intake.take, arrival, name, owner)


async def check_arriving(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass the chunks on. Raises StalledError when none arrives for `IDLE_S`, so that no silent sender holds a slot."""
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise StalledError(f"nothing of the file arrived for {IDLE_S} s; send it again") from None
        yield chunk


async def run_statements(service: Service, caller: Caller, body: RunRequest) -> RunResponse:
    """Run several statements on one slot; one that fails is an answer too."""
    one = ExecuteRequest(database_id=body.database_id, sql="", deadline_s=body.deadline_s, max_rows=body.max_rows)
    seconds, rows = budget(one, service.settings)
    async with service.queries.taken(caller):
        executions = await service.off_loop(run_all, service, body, seconds, rows)
    for execution in executions:
        OUTCOMES.labels(outcome=execution.outcome.value).inc()
    runs = [RunResult(**run.shown(), fingerprint=run.fingerprint if run.complete else None) for run in executions]
    return RunResponse(runs=runs)


def run_all(service: SandboxService, body: RunRequest, seconds: float, rows: int) -> list[Execution]:
    path = service.local(body.database_id)
    # row order counts where most of the statements have an outer ORDER BY
    ordered = sum(map(has_outer_order_by, body.sqls)) * 2 > len(body.sqls)
    rule = ComparisonRule("list" if ordered else "bag")
    now = now_ms()  # votes that read the clock see the same time
    try:
        return service.pool.execute_many(
            [ExecutionRequest(path, sql, seconds, rows, rule, now_ms=now) for sql in body.sqls]
        )
    except InvalidInputError as error:
        message = f"database {body.database_id} cannot be read any more; bring the same file again"
        # budgets are checked, so it is the file; its path is not shown
        raise InvalidInputError(message, code="invalid_database") from error


async def build_from_script(service: Service, caller: Caller, body: ScriptRequest) -> ScriptResponse:
    """Build a database and store it by its content."""
    split = await run_in_threadpool(split_script, body.ddl)
    async with service.uploads.taken(caller):
        try:
            database_id = await service.off_loop(build_ddl_database, service.objects, split.script, service.pool)
        except InvalidInputError as error:
            raise InvalidInputError(error.message, code=INVALID_DDL) from error
    return ScriptResponse(database_id=database_id, skipped=split.skipped)


async def healthz(request: Request) -> dict[str, object]:
    """Reports the walls that a child had when the process started; calls no other service."""
    return {"status": "ok", "walls": request.app.state.walls}


async def readyz(service: Service) -> dict[str, str]:
    """Checks the object store; children start when they are needed."""
    await service.off_loop(service.objects.exists, "readyz")
    return {"status": "ok"}


def first_fault(fault: object) -> str:
    assert isinstance(fault, dict)
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])
