"""/v1/sql: a question about a database becomes SQL; the serving service does all of it."""

import httpx
from fastapi import APIRouter, Request, Response

from services.gateway.access import SUBMIT, AskedBy, GuardedRoute
from services.gateway.backend import Backend
from services.gateway.jobs_routes import Back
from services.gateway.problems import request_id
from services.gateway.sandbox import as_it_is
from shared.client.internal import client_for, patience, serving_at
from shared.client.sql_models import SqlAnswer, SqlRequest
from shared.http.server import cancel_on_disconnect

router = APIRouter(prefix="/v1", tags=["models"], route_class=GuardedRoute)


def serving_client(backend: Backend) -> httpx.AsyncClient:
    """One client a process."""
    return client_for(serving_at(backend.serving.url), patience(backend.settings.engine_timeout_s), kept=64)


@router.post("/sql", dependencies=SUBMIT, summary="Ask a question about a database", response_model=SqlAnswer)
async def write_sql(request: Request, backend: Back, caller: AskedBy, asked: SqlRequest) -> Response:
    """SQL that fails is an answer, not an error: `outcome` says what happened where it was run."""
    client: httpx.AsyncClient = request.app.state.serving
    headers = {"X-Request-ID": request_id(request) or "", "Content-Type": "application/json", **caller.headers}
    call = cancel_on_disconnect(request, client.post("/sql", content=asked.model_dump_json(), headers=headers))
    answer = await serving_at(backend.serving.url).answered(call)
    return as_it_is(answer.content)
