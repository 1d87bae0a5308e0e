"""The HTTP front before vLLM. It has the routes of the embedded engine, so callers need not know which one runs."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from services.serving.registry import Registry, ServedModel
from services.serving.settings import VllmSettings
from services.serving.vllm.control_tokens import as_token_completion, completion_to_chat, completion_to_chat_stream
from services.serving.vllm.models import VllmModels
from services.serving.vllm.server import ExternalServer, ManagedServer, VllmClient, VllmServer, read_error
from shared.errors import InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.http.app import create_internal_app
from shared.http.problems import ProblemHandlers, openai_error
from shared.http.server import cancel_on_disconnect
from shared.parsing import MAX_ENGINE_VALUES, check_json

ANSWER_TIMEOUT_S = 900.0
JSON_HEADERS = {"Content-Type": "application/json"}


def create_app(state: Path, settings: VllmSettings) -> FastAPI:
    """Raises InvalidInputError if neither an interpreter nor an address of vLLM is set."""
    if settings.url is None and settings.python is None:
        raise InvalidInputError("vLLM is not set up: set SENSE_VLLM_PYTHON (its interpreter) or SENSE_VLLM_URL")
    registry = Registry(state)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=512, max_keepalive_connections=128)
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=5.0)
        headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
        async with httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=False) as http:
            server = open_server(state, settings, http)
            app.state.http, app.state.models = http, VllmModels(registry, server, VllmClient(http), settings)
            yield
            if isinstance(server, ManagedServer):
                await server.release()

    problems = ProblemHandlers(retry_after_s="5", is_engine=True)
    app = create_internal_app("Sense vLLM front", lifespan=lifespan, problems=problems)
    add_routes(app)
    return app


def open_server(state: Path, settings: VllmSettings, http: httpx.AsyncClient) -> VllmServer:
    if settings.url is not None:
        return ExternalServer(settings.url, http)
    assert settings.python is not None
    return ManagedServer(settings.python, state, settings, http)


def add_routes(app: FastAPI) -> None:
    @app.get("/health")
    async def health(request: Request) -> dict[str, Any]:
        models: VllmModels = request.app.state.models
        pid = models.server.pid if isinstance(models.server, ManagedServer) else None
        held = models.in_memory
        state = {"status": "ok", "engine": "vllm", "weights_in_memory": models.server.running}
        return {**state, "models_in_memory": held, "child_pid": pid, "requests": models.requests}

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        models: VllmModels = request.app.state.models
        return models.registry.listing()

    @app.post("/admin/models")
    async def add(request: Request, model: ServedModel) -> ServedModel:
        models: VllmModels = request.app.state.models
        return await models.load(model)

    @app.delete("/admin/models/{name}")
    async def remove(request: Request, name: str) -> dict[str, Any]:
        await request.app.state.models.unload(name)
        return {"name": name, "deleted": True}

    @app.post("/admin/release")
    async def release(request: Request) -> dict[str, Any]:
        await request.app.state.models.release()
        return {"released": True}

    @app.post("/v1/chat/completions", response_model=None)
    @app.post("/v1/completions", response_model=None)
    async def answer(request: Request) -> Response:
        return await forward_request(request)


async def forward_request(request: Request) -> Response:
    """Forwards a request to vLLM. A caller who disconnects ends vLLM's work; a model stays until its answer is out."""
    models: VllmModels = request.app.state.models
    body = await request.body()
    payload, path = read_body(body), request.url.path
    if path.endswith("/chat/completions"):
        base_dir = models.registry.get(payload["model"]).model.base_dir
        if (converted := await to_thread.run_sync(as_token_completion, payload, base_dir)) is not None:
            payload, path, body = (
                converted,
                path.replace("/chat/completions", "/completions"),
                json.dumps(converted).encode(),
            )
    try:
        return await forward_once(request, models, path, body, payload)
    except httpx.ConnectError:  # vLLM ended before it got this request, so it is safe to send it again
        await models.server.settle()
    try:
        return await forward_once(request, models, path, body, payload)
    except httpx.ConnectError as error:
        raise connection_error(models, error) from error


async def forward_once(
    request: Request, models: VllmModels, path: str, body: bytes, payload: dict[str, Any]
) -> Response:
    """Tries once. Raises httpx.ConnectError if there was no connection: only then may the caller try again."""
    # holds the model and the connection until the answer is out: for a stream, after this function has returned
    stack = contextlib.AsyncExitStack()
    try:
        inner = await cancel_on_disconnect(request, stack.enter_async_context(models.hold(payload["model"])))
        if not models.server.running:  # it ended while the model was looked up
            raise httpx.ConnectError("vLLM has ended")
        # the caller's bytes pass on unchanged if vLLM knows the model by the same name
        content = body if inner == payload["model"] else json.dumps({**payload, "model": inner}).encode()
        http: httpx.AsyncClient = request.app.state.http
        ask = http.build_request("POST", models.server.url + path, content=content, headers=JSON_HEADERS)
        answer = await cancel_on_disconnect(request, http.send(ask, stream=bool(payload.get("stream"))))
        stack.push_async_callback(answer.aclose)
        if answer.is_error:
            await answer.aread()
            raise_vllm_error(models, payload["model"], answer)
    except httpx.HTTPError as error:
        await stack.aclose()
        if isinstance(error, httpx.ConnectError):
            raise
        raise connection_error(models, error) from error
    except BaseException:
        await stack.aclose()
        raise
    kind, converted = answer.headers.get("content-type", "application/json"), path != request.url.path
    if not payload.get("stream"):
        await stack.aclose()
        return (
            JSONResponse(completion_to_chat(answer.json())) if converted else Response(answer.content, media_type=kind)
        )
    events = stream_answer(models, answer, stack)
    return StreamingResponse(completion_to_chat_stream(events) if converted else events, media_type=kind)


def read_body(body: bytes) -> dict[str, Any]:
    try:
        check_json(body, "the request", MAX_ENGINE_VALUES)
        payload = json.loads(body)
    except ValueError as error:
        raise InvalidInputError(f"The body is no JSON: {error}.", code="invalid_request") from error
    if not isinstance(payload, dict) or not isinstance(payload.get("model"), str):
        raise InvalidInputError("The body is no object with a 'model': name one of /v1/models.", code="invalid_request")
    return payload


async def stream_answer(
    models: VllmModels, answer: httpx.Response, stack: contextlib.AsyncExitStack
) -> AsyncIterator[bytes]:
    """The chunks of the stream; if vLLM dies in the middle, an error event follows."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.HTTPError as error:
        failure = connection_error(models, error)
        yield b"data: " + json.dumps({"error": openai_error(503, failure.code, failure.message)}).encode() + b"\n\n"
    finally:
        await stack.aclose()


def connection_error(models: VllmModels, error: httpx.HTTPError) -> SenseError:
    models.server.lost()
    why = "" if models.server.running else f": {models.server.why_down()}"
    return UnavailableError(f"vLLM broke off ({type(error).__name__}); send the request again{why}", code="engine_died")


def raise_vllm_error(models: VllmModels, name: str, answer: httpx.Response) -> None:
    """Raises vLLM's error in OpenAI's form. Its code is always a word, where vLLM gives a number."""
    body = read_error(answer)
    message = str(body.get("message") or f"vLLM answered {answer.status_code} without saying why")
    # vLLM has forgotten the adapter
    if answer.status_code == 404:
        models.lost(name)
        raise NotFoundError(message, code="model_not_found")
    too_long = "context length" in message or "max_model_len" in message
    error = EngineRefusedError(message, code="context_length_exceeded" if too_long else "invalid_request")
    error.http_status, error.param = answer.status_code, body.get("param")
    if answer.status_code >= 500:
        error.code = "engine_error"
    raise error


class EngineRefusedError(SenseError):
    """A refusal of vLLM, with its status and the parameter that it names."""

    param: Any = None
