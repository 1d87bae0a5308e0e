"""The engine's HTTP face. This process holds no torch: its child does, and only while somebody asks."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError

from services.serving.embedded.link import Link
from services.serving.embedded.openai_api import ChatRequest, Envelope, error_body, first_fault
from services.serving.embedded.registry import Registry
from services.serving.embedded.settings import EngineSettings
from services.serving.embedded.wire import ChatTask
from services.serving.protocol import ServedModel
from shared.errors import SenseError

RETRY_AFTER_S = "1"


class RefusedError(SenseError):
    """An error that the child reported, with its status."""

    def __init__(self, message: dict[str, Any]) -> None:
        super().__init__(message["message"], code=message["code"])
        self.http_status = message["status"]


def create_app(state: Path, settings: EngineSettings) -> FastAPI:
    link, registry = Link(), Registry(state)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await link.release()

    app = FastAPI(title="Sense embedded engine", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(SenseError, _say_sense_error)
    app.add_exception_handler(RequestValidationError, _say_bad_body)
    _add_reading_routes(app, link, registry)
    _add_admin_routes(app, link, registry)
    _add_chat_route(app, link, registry, settings)
    return app


def _add_reading_routes(app: FastAPI, link: Link, registry: Registry) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        pid, held = link.child_pid, link.in_memory
        return {"status": "ok", "weights_in_memory": bool(pid and held), "models_in_memory": held, "child_pid": pid}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "sense"} for name in registry.names()]
        return {"object": "list", "data": data}


def _add_admin_routes(app: FastAPI, link: Link, registry: Registry) -> None:
    @app.post("/admin/models")
    async def add(model: ServedModel) -> ServedModel:
        return registry.add(model)

    @app.delete("/admin/models/{name}")
    async def remove(name: str) -> dict[str, Any]:
        registry.remove(name)
        await link.forget(name)
        return {"name": name, "deleted": True}

    @app.post("/admin/release")
    async def release() -> dict[str, Any]:
        await link.release()
        return {"released": True}


def _add_chat_route(app: FastAPI, link: Link, registry: Registry, settings: EngineSettings) -> None:
    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: Request) -> Response:
        body = ChatRequest.model_validate_json(await request.body())
        task = body.task(registry.get(body.model), settings)
        envelope = Envelope(body.model)
        if not body.stream:
            return JSONResponse(envelope.completion(await _whole(link, task, request)))
        flow = link.chat(task)
        first = _checked(await anext(flow))
        wants_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(_events(first, flow, envelope, wants_usage), media_type="text/event-stream")

    app.add_exception_handler(ValidationError, _say_bad_request)


def _checked(message: dict[str, Any]) -> dict[str, Any]:
    if message["event"] == "error":
        raise RefusedError(message)
    return message


async def _whole(link: Link, task: ChatTask, request: Request) -> dict[str, Any]:
    """The final message; a client that hangs up ends the work on its request."""

    async def last() -> dict[str, Any]:
        message: dict[str, Any] = {}
        async with contextlib.aclosing(link.chat(task)) as flow:
            async for message in flow:
                _checked(message)
        return message

    work = asyncio.create_task(last())
    while not work.done():
        await asyncio.wait([work], timeout=1.0)
        if not work.done() and await request.is_disconnected():
            work.cancel()
            return {"choices": [], "prompt_tokens": 0, "completion_tokens": 0}
    return work.result()


async def _events(
    first: dict[str, Any], flow: AsyncGenerator[dict[str, Any], None], envelope: Envelope, wants_usage: bool
) -> AsyncIterator[str]:
    yield _event(envelope.chunk({"role": "assistant", "content": ""}))
    message = first
    try:
        while message["event"] == "text":
            yield _event(envelope.chunk({"content": message["text"]}))
            message = await anext(flow)
        _checked(message)
        yield _event(envelope.chunk({}, message["choices"][0]["finish_reason"]))
        if wants_usage:
            yield _event(envelope.usage_chunk(message))
        yield "data: [DONE]\n\n"
    except SenseError as error:
        yield _event(error_body(error.message, error.http_status, error.code))
    finally:
        await flow.aclose()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


async def _say_sense_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SenseError)
    headers = {"Retry-After": RETRY_AFTER_S} if error.http_status == 503 else None
    body = error_body(error.message, error.http_status, error.code)
    return JSONResponse(body, status_code=error.http_status, headers=headers)


async def _say_bad_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ValidationError)
    where, sentence = first_fault(error)
    return JSONResponse(error_body(sentence, 400, "invalid_request", where), status_code=400)


async def _say_bad_body(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    sentence = f"The field '{where}' cannot be used: {fault['msg']}."
    return JSONResponse(error_body(sentence, 422, "invalid_input", where), status_code=422)
