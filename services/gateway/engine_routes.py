"""The OpenAI-compatible face: what the engine serves, passed through chunk by chunk, nothing read or written anew."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from services.gateway.access import READ, SUBMIT, GuardedRoute
from services.gateway.backend import Backend, get_backend
from services.gateway.body import JSON_TYPES, media_type
from services.gateway.problems import DETAIL_CHARS, MediaTypeError, clipped, problem, request_id
from shared.client.internal import internal_headers
from shared.client.models import ModelList
from shared.errors import UnavailableError
from shared.http.server import cancel_on_disconnect

STREAM = "text/event-stream"
KEPT_S = 3.0  # an idle connection: less than the five seconds after which uvicorn closes it


def any_object(*required: str) -> dict[str, Any]:
    """A JSON body whose fields are the engine's to check."""
    schema = {"type": "object", "required": list(required)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


router = APIRouter(prefix="/v1", tags=["models"], route_class=GuardedRoute)


def engine_client(backend: Backend) -> aiohttp.ClientSession:
    """One client a process, inside a running loop; it follows no proxy of the environment: the engine is ours.

    Answers stream, so parsing in C counts: 25 chunks take 4.7 ms of processor time, and took 9.6 with httpx.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=backend.settings.engine_timeout_s)
    connections = aiohttp.TCPConnector(limit=512, keepalive_timeout=KEPT_S)
    return aiohttp.ClientSession(
        headers=internal_headers(), timeout=timeout, connector=connections, cookie_jar=aiohttp.DummyCookieJar()
    )


@router.get("/models", dependencies=READ, summary="List the served models", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """What the engine answers for now."""
    return await passed_on(request, "GET", "/v1/models")


@router.post(
    "/chat/completions",
    dependencies=SUBMIT,
    openapi_extra=any_object("model", "messages"),
    summary="Ask a served model",
    response_model=None,
)
async def complete_chat(request: Request) -> Response:
    """OpenAI's chat completions, with `stream` too; which fields are taken is the engine's to say."""
    return await passed_on(request, "POST", "/v1/chat/completions", await read_json(request))


@router.post(
    "/completions",
    dependencies=SUBMIT,
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
    client: aiohttp.ClientSession = request.app.state.engine
    engine = get_backend(request).engine_url
    headers = {"Content-Type": "application/json", "X-Request-ID": request_id(request) or ""}
    ask = client.request(method, engine + path, data=body, headers=headers, allow_redirects=False)
    answer: aiohttp.ClientResponse | None = None
    try:
        answer = await cancel_on_disconnect(request, ask)
        if answer.status == 401:
            message = f"the engine at {engine} does not know this gateway: SENSE_INTERNAL_TOKEN is another one there"
            raise UnavailableError(message, code="engine_unavailable")
        kind = answer.headers.get("content-type", "application/json")
        if answer.ok and kind.startswith(STREAM):
            return StreamingResponse(flow(answer), media_type=kind)
        content = await cancel_on_disconnect(request, answer.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        message = f"the engine at {engine} does not answer ({type(error).__name__}); see: sense status"
        raise UnavailableError(message, code="engine_unavailable") from error
    except BaseException:
        if answer is not None:
            answer.close()
        raise
    return Response(content, media_type=kind) if answer.ok else refused(request, answer, content)


async def flow(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body's chunks; the connection is closed at its end, or when the caller hangs up."""
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError):
        error = {"message": "the engine broke off; send the request again", "type": "server_error", "param": None}
        yield b"data: " + json.dumps({"error": {**error, "code": "engine_died"}}).encode() + b"\n\n"
    finally:
        answer.close()


def refused(request: Request, answer: aiohttp.ClientResponse, content: bytes) -> Response:
    """An error of the engine's."""
    try:
        error = dict(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        error = {"message": f"the engine answered {answer.status} without saying why", "code": None}
    error["message"] = clipped(str(error.get("message") or "the engine gave no reason"), DETAIL_CHARS)
    retry_after = answer.headers.get("retry-after")
    return problem(
        status=answer.status,
        code=str(error.get("code") or "engine_error"),
        detail=error["message"],
        instance=request.scope["path"],
        request_id=request_id(request),
        headers={"Retry-After": retry_after} if retry_after else None,
        error=error,
    )
