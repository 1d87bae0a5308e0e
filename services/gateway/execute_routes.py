"""/v1/execute: one SQL on one stored database, run by the sandbox."""

from fastapi import APIRouter, Request, Response

from services.gateway.access import SUBMIT, AskedBy, GuardedRoute
from services.gateway.jobs_routes import Back
from services.gateway.sandbox import as_it_is, ask_sandbox
from shared.client.models import Executed, ExecuteRequest

router = APIRouter(prefix="/v1", tags=["databases"], route_class=GuardedRoute)


@router.post("/execute", dependencies=SUBMIT, summary="Run SQL on a database", response_model=Executed)
async def execute(request: Request, backend: Back, caller: AskedBy, asked: ExecuteRequest) -> Response:
    """SQL that fails is an answer, not an error: `outcome` says what happened."""
    answer = await ask_sandbox(
        request,
        "/execute",
        seconds=min(asked.deadline_s or 0.0, backend.sandbox.max_deadline_s),
        content=asked.model_dump_json(),
        headers={"Content-Type": "application/json", **caller.headers},
    )
    return as_it_is(answer.content)
