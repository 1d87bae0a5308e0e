"""The OpenAI-compatible face: what the engine serves, passed through chunk by chunk."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from services.gateway.backend import Backend, get_backend
from services.gateway.body import JSON_TYPES, media_type
from services.gateway.problems import MediaTypeError, problem, request_id
from shared.client.models import ModelList
from shared.errors import UnavailableError

LOOK_S = 1.0
ANY_OBJECT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "required": ["model", "messages"]}}},
    }
}
router = APIRouter(prefix="/v1", tags=["models"])


def engine_client(backend: Backend) -> httpx.AsyncClient:
    """One client a process; it follows no proxy of the environment: the engine is ours."""
    timeout = httpx.Timeout(backend.settings.engine_timeout_s, connect=5.0)
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=16)
    return httpx.AsyncClient(base_url=backend.engine_url, timeout=timeout, limits=limits, trust_env=False)


@router.get("/models", summary="List the served models", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """What the engine answers for now."""
    return await passed_on(request, "GET", "/v1/models")


@router.post("/chat/completions", openapi_extra=ANY_OBJECT, summary="Ask a served model", response_model=None)
async def complete_chat(request: Request) -> Response:
    """OpenAI's chat completions, with `stream` too; which fields are taken is the engine's to say."""
    if (kind := media_type(request)) not in JSON_TYPES:
        raise MediaTypeError(f"a chat request is application/json, not {kind}")
    return await passed_on(request, "POST", "/v1/chat/completions", await request.body())


async def passed_on(request: Request, method: str, path: str, body: bytes | None = None) -> Response:
    """The engine's answer as it comes; its errors as problems that keep OpenAI's `error` member."""
    client: httpx.AsyncClient = request.app.state.engine
    headers = {"Content-Type": "application/json", "X-Request-ID": request_id(request) or ""}
    ask = client.build_request(method, path, content=body, headers=headers)
    try:
        answer = await answered(client, ask, request)
        if answer.is_error:
            await answer.aread()
            await answer.aclose()
            return refused(request, answer)
    except httpx.HTTPError as error:
        engine = get_backend(request).engine_url
        message = f"the engine at {engine} does not answer ({type(error).__name__}); see: sense status"
        raise UnavailableError(message, code="engine_unavailable") from error
    kind = answer.headers.get("content-type", "application/json")
    return StreamingResponse(flow(answer), status_code=answer.status_code, media_type=kind)


async def answered(client: httpx.AsyncClient, ask: httpx.Request, request: Request) -> httpx.Response:
    """The engine's answer, once its head is here; a caller who hangs up before takes the engine's work with them."""
    work = asyncio.create_task(client.send(ask, stream=True))
    while not work.done():
        await asyncio.wait([work], timeout=LOOK_S)
        if not work.done() and await request.is_disconnected():
            work.cancel()
            raise httpx.ReadError("the caller hung up")
    return work.result()


async def flow(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The body's chunks; the connection is closed at its end, or when the caller hangs up."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


def refused(request: Request, answer: httpx.Response) -> Response:
    """An error of the engine's."""
    try:
        error = dict(json.loads(answer.content)["error"])
    except (ValueError, KeyError, TypeError):
        error = {"message": f"the engine answered {answer.status_code} without saying why", "code": None}
    retry_after = answer.headers.get("retry-after")
    return problem(
        status=answer.status_code,
        code=str(error.get("code") or "engine_error"),
        detail=str(error.get("message") or "the engine gave no reason"),
        instance=request.url.path,
        request_id=request_id(request),
        headers={"Retry-After": retry_after} if retry_after else None,
        error=error,
    )
