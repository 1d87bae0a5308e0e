"""/v1/sql: a question about a database becomes SQL; the serving service does all of it."""

from typing import Any

import httpx
from fastapi import APIRouter, Request

from services.gateway.backend import Backend
from services.gateway.jobs_routes import Back
from services.gateway.problems import request_id
from shared.client.sql_models import SqlAnswer, SqlRequest
from shared.errors import SenseError, UnavailableError
from shared.hangup import unless_gone

CONNECT_S = 5.0
router = APIRouter(prefix="/v1", tags=["models"])


class ServingError(SenseError):
    """What the serving service refused, with its status."""

    def __init__(self, answer: httpx.Response) -> None:
        try:
            said = answer.json()
            code, message = str(said["code"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "serving_error", f"the serving service answered {answer.status_code} without saying why"
        super().__init__(message, code=code, retryable=answer.status_code == 503)
        self.http_status = answer.status_code


def serving_client(backend: Backend) -> httpx.AsyncClient:
    """One client a process; it follows no proxy of the environment: the service is ours."""
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
    timeout = httpx.Timeout(backend.settings.engine_timeout_s, connect=CONNECT_S)
    return httpx.AsyncClient(base_url=backend.serving.url.rstrip("/"), limits=limits, timeout=timeout, trust_env=False)


@router.post("/sql", summary="Ask a question about a database")
async def write_sql(request: Request, backend: Back, asked: SqlRequest) -> SqlAnswer:
    """SQL that fails is an answer, not an error: `outcome` says what happened where it was run."""
    answer = await ask_serving(request, backend, asked.model_dump_json())
    return SqlAnswer.model_validate_json(answer.content)


async def ask_serving(request: Request, backend: Backend, body: str) -> httpx.Response:
    """The service's good answer. Raises ServingError, or UnavailableError (code serving_unavailable)."""
    client: httpx.AsyncClient = request.app.state.serving
    headers: dict[str, Any] = {"X-Request-ID": request_id(request) or "", "Content-Type": "application/json"}
    try:
        answer = await unless_gone(request, client.post("/sql", content=body, headers=headers))
    except httpx.HTTPError as error:
        message = (
            f"the serving service at {backend.serving.url} does not answer ({type(error).__name__}); see: sense status"
        )
        raise UnavailableError(message, code="serving_unavailable") from error
    if answer.is_error:
        raise ServingError(answer)
    return answer
