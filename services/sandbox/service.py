"""What the HTTP process holds between requests: a pool for queries, an intake for files, slots for both."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from services.sandbox.building.databases import local_database
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution
from services.sandbox.intake.upload import INVALID_DATABASE, Intake
from shared.api.resources import ExecuteRequest, ExecutionResult
from shared.contracts.base import Owner
from shared.errors import InvalidInputError, NotFoundError, UnavailableError
from shared.http.slots import CALLER_HEADER, CALLER_NAME_HEADER, Slots
from shared.metrics import OUTCOMES
from shared.settings import SandboxSettings
from shared.storage.keys import is_sha256
from shared.storage.store import ObjectStore

DEFAULT_DEADLINE_S, DEFAULT_ROWS = 2.0, 100  # when the caller gives none
Result = TypeVar("Result")


class BusyError(UnavailableError):
    """All slots are taken; a retry can help."""

    code = "sandbox_busy"


class SandboxService:
    """Created once per process, on its event loop; `close` leaves no child behind."""

    def __init__(self, objects: ObjectStore, settings: SandboxSettings, incoming: Path) -> None:
        self.objects, self.settings = objects, settings
        self.pool = SandboxPool(settings.http_children, Limits())
        self.intake = Intake(objects, incoming, most=settings.max_upload_bytes, deadline_s=settings.intake_timeout_s)
        slots = partial(Slots, wait_s=settings.wait_s, waiting=settings.waiting, busy=BusyError)
        self.queries = slots(settings.http_children, what="the sandbox")
        self.uploads = slots(settings.uploads, what="the sandbox for uploads")
        # two more than slots, for calls without one, such as `readyz`
        self._threads = CapacityLimiter(settings.http_children + settings.uploads + 2)

    async def off_loop(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await to_thread.run_sync(work, *arguments, limiter=self._threads)

    async def execute(self, request: ExecuteRequest, caller: str = "") -> ExecutionResult:
        """Raises InvalidInputError, NotFoundError, BusyError, OwnShareError."""
        seconds, rows = budget(request, self.settings)
        async with self.queries.taken(caller):
            execution = await self.off_loop(self._execute, request.database_id, request.sql, seconds, rows)
        OUTCOMES.labels(outcome=execution.outcome.value).inc()
        return ExecutionResult(**execution.shown())

    def _execute(self, database_id: str, sql: str, seconds: float, rows: int) -> Execution:
        path = self.local(database_id)
        try:
            return self.pool.execute(path, sql, deadline_s=seconds, keep_rows=rows)
        except InvalidInputError as error:  # budgets are checked, so it is the file; its path is not shown
            message = f"database {database_id} cannot be read any more; bring the same file again"
            raise InvalidInputError(message, code=INVALID_DATABASE) from error

    def local(self, database_id: str) -> Path:
        try:
            # the id becomes part of an object key
            if is_sha256(database_id):
                return local_database(self.objects, database_id)
        except NotFoundError:
            pass
        message = f"there is no database {database_id[:80]!r}; list them with: sense databases"
        raise NotFoundError(message, code="database_not_found")

    def kill(self) -> None:
        self.pool.kill()
        self.intake.kill()

    def close(self) -> None:
        self.kill()
        self.pool.close()
        self.intake.close()


def caller_of(request: Request) -> str:
    """The API key behind the request of the gateway; empty if none was needed."""
    return request.headers.get(CALLER_HEADER, "")[:100]


def owner_of(request: Request) -> Owner | None:
    caller = caller_of(request)
    return Owner(id=caller, name=request.headers.get(CALLER_NAME_HEADER, "")[:100]) if caller else None


Caller = Annotated[str, Depends(caller_of)]


def budget(request: ExecuteRequest, settings: SandboxSettings) -> tuple[float, int]:
    """Seconds and rows. Raises InvalidInputError for more than the operator allows."""
    seconds = min(DEFAULT_DEADLINE_S, settings.max_deadline_s) if request.deadline_s is None else request.deadline_s
    rows = min(DEFAULT_ROWS, settings.max_rows) if request.max_rows is None else request.max_rows
    if seconds > settings.max_deadline_s:
        raise InvalidInputError(f"deadline_s is {seconds}; at most {settings.max_deadline_s} s are allowed")
    if rows > settings.max_rows:
        raise InvalidInputError(f"max_rows is {rows}; at most {settings.max_rows} are given at once")
    return seconds, rows


def get_service(request: Request) -> SandboxService:
    service = getattr(request.app.state, "service", None)
    if not isinstance(service, SandboxService):
        raise UnavailableError("the sandbox is still starting")
    return service
