"""The OpenAI-compatible face: what the engine serves, passed through chunk by chunk, nothing read or written anew."""

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
from shared.hangup import unless_gone

STREAM = "text/event-stream"


def any_object(*required: str) -> dict[str, Any]:
    """A JSON body whose fields are the engine's to check."""
    schema = {"type": "object", "required": list(required)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


router = APIRouter(prefix="/v1", tags=["models"])


def engine_client(backend: Backend) -> httpx.AsyncClient:
    """One client a process; it follows no proxy of the environment: the engine is ours."""
    timeout = httpx.Timeout(backend.settings.engine_timeout_s, connect=5.0)
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=128)
    return httpx.AsyncClient(base_url=backend.engine_url, timeout=timeout, limits=limits, trust_env=False)


@router.get("/models", summary="List the served models", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """What the engine answers for now."""
    return await passed_on(request, "GET", "/v1/models")


@router.post(
    "/chat/completions",
    openapi_extra=any_object("model", "messages"),
    summary="Ask a served model",
    response_model=None,
)
async def complete_chat(request: Request) -> Response:
    """OpenAI's chat completions, with `stream` too; which fields are taken is the engine's to say."""
    return await passed_on(request, "POST", "/v1/chat/completions", await read_json(request))


@router.post(
    "/completions",
    openapi_extra=any_object("model", "prompt"),
    summary="Have a served model go on with a text",
    response_model=None,
)
async def complete_text(request: Request) -> Response:
    """OpenAI's completions: the text as it stands, without a chat template."""
    return await passed_on(request, "POST", "/v1/completions", await read_json(request))


async def read_json(request: Request) -> bytes:
    """The body's bytes. Raises MediaTypeError for another type."""
    if (kind := media_type(request)) not in JSON_TYPES:
        raise MediaTypeError(f"a request to a model is application/json, not {kind}")
    return await request.body()


async def passed_on(request: Request, method: str, path: str, body: bytes | None = None) -> Response:
    """The engine's answer as it comes; its errors as problems that keep OpenAI's `error` member.

    A caller who hangs up takes the engine's work with them.
    """
    client: httpx.AsyncClient = request.app.state.engine
    headers = {"Content-Type": "application/json", "X-Request-ID": request_id(request) or ""}
    ask = client.build_request(method, path, content=body, headers=headers)
    answer: httpx.Response | None = None
    try:
        answer = await unless_gone(request, client.send(ask, stream=True))
        kind = answer.headers.get("content-type", "application/json")
        if answer.is_success and kind.startswith(STREAM):
            return StreamingResponse(flow(answer), media_type=kind)
        content = await unless_gone(request, answer.aread())
    except httpx.HTTPError as error:
        engine = get_backend(request).engine_url
        message = f"the engine at {engine} does not answer ({type(error).__name__}); see: sense status"
        raise UnavailableError(message, code="engine_unavailable") from error
    except BaseException:
        if answer is not None:
            await answer.aclose()
        raise
    return refused(request, answer) if answer.is_error else Response(content, media_type=kind)


async def flow(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The body's chunks; the connection is closed at its end, or when the caller hangs up."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.HTTPError:
        error = {"message": "the engine broke off; send the request again", "type": "server_error", "param": None}
        yield b"data: " + json.dumps({"error": {**error, "code": "engine_died"}}).encode() + b"\n\n"
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
