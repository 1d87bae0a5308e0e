"""The HTTP process of the embedded engine. It holds no torch: its child, the model process, does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError

from services.serving.embedded.model_process import GenerationTask, ModelProcess
from services.serving.embedded.openai_api import (
    ChatEnvelope,
    ChatRequest,
    CompletionEnvelope,
    CompletionRequest,
)
from services.serving.registry import ReferenceLogprobs, Registry, ServedModel
from services.serving.settings import EmbeddedEngineSettings
from shared.errors import SenseError
from shared.http.app import create_internal_app
from shared.http.problems import ProblemHandlers, openai_error
from shared.http.server import cancel_on_disconnect
from shared.parsing import MAX_ENGINE_VALUES, check_json


class ModelProcessError(SenseError):
    """An error that the model process reported, with its status."""

    def __init__(self, message: dict[str, Any]) -> None:
        super().__init__(message["message"], code=message["code"])
        self.http_status = message["status"]


def create_app(state: Path, settings: EmbeddedEngineSettings) -> FastAPI:
    model_process, registry = ModelProcess(), Registry(state)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await model_process.release()

    problems = ProblemHandlers(retry_after_s="1", is_engine=True)
    app = create_internal_app("Sense embedded engine", lifespan=lifespan, problems=problems)
    app.add_exception_handler(ValidationError, problems.handle_validation_error)
    _add_reading_routes(app, model_process, registry)
    _add_admin_routes(app, model_process, registry)
    _add_chat_routes(app, model_process, registry, settings)
    return app


def _add_reading_routes(app: FastAPI, model_process: ModelProcess, registry: Registry) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        pid, held = model_process.child_pid, model_process.in_memory
        state = {"status": "ok", "engine": "embedded", "weights_in_memory": bool(pid and held)}
        return {**state, "models_in_memory": held, "child_pid": pid, "requests": model_process.requests}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return registry.listing()


def _add_admin_routes(app: FastAPI, model_process: ModelProcess, registry: Registry) -> None:
    loading = asyncio.Lock()

    @app.post("/admin/models")
    async def add(model: ServedModel) -> ServedModel:
        # two requests for the same new name would both load it
        async with loading:
            if registry.find(model) is None:
                loaded = _raise_error(await model_process.load(model))
                registry.add(model, ReferenceLogprobs.model_validate(loaded["reference"]))
        return model

    @app.delete("/admin/models/{name}")
    async def remove(name: str) -> dict[str, Any]:
        registry.remove(name)
        await model_process.forget(name)
        return {"name": name, "deleted": True}

    @app.post("/admin/release")
    async def release() -> dict[str, Any]:
        await model_process.restart()
        return {"released": True}


def _add_chat_routes(
    app: FastAPI, model_process: ModelProcess, registry: Registry, settings: EmbeddedEngineSettings
) -> None:
    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: Request) -> Response:
        body = ChatRequest.model_validate_json(await _read_body(request))
        tasks = body.tasks(registry.get(body.model), settings)
        return await _answer_response(request, model_process, tasks, ChatEnvelope(body.model), body.wants_usage)

    @app.post("/v1/completions", response_model=None)
    async def complete(request: Request) -> Response:
        body = CompletionRequest.model_validate_json(await _read_body(request))
        tasks = body.tasks(registry.get(body.model), settings)
        return await _answer_response(request, model_process, tasks, CompletionEnvelope(body.model), body.wants_usage)


async def _read_body(request: Request) -> bytes:
    """Checks the size of the body before it is validated on the event loop. Raises InvalidInputError."""
    body = await request.body()
    check_json(body, "the request", MAX_ENGINE_VALUES)
    return body


async def _answer_response(
    request: Request,
    model_process: ModelProcess,
    tasks: list[GenerationTask],
    envelope: ChatEnvelope,
    wants_usage: bool,
) -> Response:
    """The whole answer, or a stream. A client that disconnects ends the work on its request."""
    if not tasks[0].stream:
        done = await cancel_on_disconnect(request, _run_tasks(model_process, tasks))
        return JSONResponse(envelope.completion(done))
    flow = model_process.chat(tasks[0])
    # the first message decides the status: once a stream has begun, it cannot change
    first = _raise_error(await cancel_on_disconnect(request, anext(flow)))
    events = _events(first, flow, envelope, tasks[0].n, wants_usage)
    return StreamingResponse(events, media_type="text/event-stream")


async def _run_tasks(model_process: ModelProcess, tasks: list[GenerationTask]) -> dict[str, Any]:
    """The final messages of all tasks as one, with the choices numbered through."""
    parts = await asyncio.gather(*(_last_message(model_process, task) for task in tasks))
    choices = [choice for part in parts for choice in part["choices"]]
    return {
        "choices": [{**choice, "index": index} for index, choice in enumerate(choices)],
        "prompt_tokens": sum(part["prompt_tokens"] for part in parts),
        "completion_tokens": sum(part["completion_tokens"] for part in parts),
    }


async def _last_message(model_process: ModelProcess, task: GenerationTask) -> dict[str, Any]:
    message: dict[str, Any] = {}
    async with contextlib.aclosing(model_process.chat(task)) as flow:
        async for message in flow:
            _raise_error(message)
    return message


def _raise_error(message: dict[str, Any]) -> dict[str, Any]:
    if message["event"] == "error":
        raise ModelProcessError(message)
    return message


async def _events(
    first: dict[str, Any], flow: AsyncGenerator[dict[str, Any], None], envelope: ChatEnvelope, count: int, usage: bool
) -> AsyncIterator[str]:
    message = first
    try:
        for chunk in envelope.opening(count):
            yield _event(chunk)
        while message["event"] == "text":
            yield _event(envelope.chunk(message["index"], message["text"]))
            message = await anext(flow)
        for choice in _raise_error(message)["choices"]:
            yield _event(envelope.chunk(choice["index"], None, choice["finish_reason"]))
        if usage:
            yield _event(envelope.usage_chunk(message))
        yield "data: [DONE]\n\n"
    except SenseError as error:
        yield _event({"error": openai_error(error.http_status, error.code, error.message)})
    finally:
        await flow.aclose()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"
