"""/v1/adapters (trained models), /v1/sql (questions to SQL), and the OpenAI-compatible routes of the engine."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import aiohttp
import httpx
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.gateway.backend import Backend, CurrentBackend, get_backend, pass_through
from services.gateway.http.access import READ, SUBMIT, Caller, CurrentCaller, GuardedRoute
from services.gateway.http.problems import JSON, PROBLEMS, require_media_type
from services.gateway.jobs.service import find_job, view_job
from services.gateway.jobs.submission import find_manifest, record_job
from shared.api.resources import Adapter, AdapterList, Job, LineageStep, ModelList
from shared.api.sql import SqlAnswer, SqlRequest
from shared.contracts.spec import parse_spec
from shared.errors import InvalidInputError, NotFoundError, UnavailableError
from shared.http.client import internal_headers, open_service_client, response_timeout, serving_service
from shared.http.problems import DETAIL_CHARS, clip, read_request_id
from shared.http.server import cancel_on_disconnect
from shared.models.manifest import ModelManifest, read_manifest
from shared.storage.keys import MODELS_PREFIX

adapters_router = APIRouter(prefix="/v1/adapters", tags=["models"], route_class=GuardedRoute)
MANIFEST = "/manifest.json"


@adapters_router.get("", dependencies=READ, summary="List trained models by name")
def list_adapters(
    backend: CurrentBackend,
    after: Annotated[str | None, Query(description="the `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> AdapterList:
    """Adapters and full models that are finished; `last_id` is a name."""
    names = sorted(
        key.removeprefix(MODELS_PREFIX).removesuffix(MANIFEST)
        for key in backend.objects.list(MODELS_PREFIX)
        if key.endswith(MANIFEST) and key.count("/") == 2
    )
    if after is not None:
        if after not in names:
            raise InvalidInputError("after names no model; begin without it", code="unknown_cursor")
        names = names[names.index(after) + 1 :]
    data = [view_adapter(read_manifest(backend.objects, name)) for name in names[:limit]]
    return AdapterList(data=data, has_more=len(names) > limit, last_id=data[-1].id if data else None)


@adapters_router.get("/{name}", dependencies=READ, summary="Look at a trained model")
def get_adapter(name: str, backend: CurrentBackend) -> Adapter:
    """Base, parents up to the base, the job and the data that made it, and what its training told."""
    return view_adapter(find_model(backend, name), parents=read_lineage(backend, name))


@adapters_router.post("/{name}/deploy", dependencies=SUBMIT, status_code=202, summary="Serve a trained model")
def deploy_adapter(
    name: str, request: Request, response: Response, backend: CurrentBackend, caller: CurrentCaller
) -> Job:
    """A deployment job; the model answers under its own name when the job has succeeded."""
    return submit_deployment(find_model(backend, name), request, response, backend, caller, serve=True)


@adapters_router.post("/{name}/undeploy", dependencies=SUBMIT, status_code=202, summary="Stop serving a trained model")
def undeploy_adapter(
    name: str, request: Request, response: Response, backend: CurrentBackend, caller: CurrentCaller
) -> Job:
    """A job that has the engine forget it, after those that use the engine; the model stays in the store."""
    return submit_deployment(find_model(backend, name), request, response, backend, caller, serve=False)


def submit_deployment(
    manifest: ModelManifest, request: Request, response: Response, backend: Backend, caller: Caller, *, serve: bool
) -> Job:
    name, student = manifest.name, {"base": manifest.base}
    spec = parse_spec({"kind": "deployment", "name": name, "model": name, "student": student, "serve": serve})
    job_id, _ = record_job(backend, caller, spec, read_request_id(request) or "", "")
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return view_job(find_job(job_id, backend))


def find_model(backend: Backend, name: str) -> ModelManifest:
    """Raises `NotFoundError` (code model_not_found), also for names that no model can have."""
    if (manifest := find_manifest(backend.objects, name)) is None:
        message = f"there is no trained model {name[:80]!r}; list them with: sense models"
        raise NotFoundError(message, code="model_not_found")
    return manifest


def read_lineage(backend: Backend, name: str) -> list[LineageStep]:
    found: list[LineageStep] = []
    at: str | None = name
    # Both bounds end the walk if manifests name each other in a circle.
    while at is not None and len(found) < 64 and at not in {one.name for one in found}:
        try:
            one = read_manifest(backend.objects, at)
        except NotFoundError:
            break
        found.append(
            LineageStep(name=one.name, method=one.method, job_id=one.job_id, stage=one.stage, data=one.data.key)
        )
        at = one.parent
    return found


def view_adapter(manifest: ModelManifest, parents: list[LineageStep] | None = None) -> Adapter:
    weights = sum(ref.size for file, ref in manifest.files.items() if file.endswith(".safetensors"))
    data = {"data_key": manifest.data.key, "data_sha256": manifest.data.sha256, "weight_bytes": weights}
    return Adapter.model_validate(
        {**manifest.model_dump(exclude={"files", "data"}), **data, "id": manifest.name, "lineage": parents or []}
    )


router = APIRouter(prefix="/v1", tags=["models"], route_class=GuardedRoute)


def open_serving_client(backend: Backend) -> httpx.AsyncClient:
    return open_service_client(
        serving_service(backend.serving.url), response_timeout(backend.settings.engine_timeout_s), kept=64
    )


@router.post("/sql", dependencies=SUBMIT, summary="Ask a question about a database", response_model=SqlAnswer)
async def write_sql(request: Request, backend: CurrentBackend, caller: CurrentCaller, asked: SqlRequest) -> Response:
    """SQL that fails is an answer, not an error: `outcome` says what happened where it was run."""
    client: httpx.AsyncClient = request.app.state.serving
    headers = {"X-Request-ID": read_request_id(request) or "", "Content-Type": "application/json", **caller.headers}
    call = cancel_on_disconnect(request, client.post("/sql", content=asked.model_dump_json(), headers=headers))
    answer = await serving_service(backend.serving.url).answered(call)
    return pass_through(answer.content)


EVENT_STREAM = "text/event-stream"
KEEPALIVE_S = 3.0  # an idle connection: less than the five seconds after which uvicorn closes it


def object_body(*required: str) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def open_engine_client(backend: Backend) -> aiohttp.ClientSession:
    """Opens one client a process, inside a running loop. It follows no proxy of the environment: the engine is ours.

    Responses stream, so parsing in C matters: 25 chunks take 4.7 ms of processor time, and took 9.6 with httpx.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=backend.settings.engine_timeout_s)
    connections = aiohttp.TCPConnector(limit=512, keepalive_timeout=KEEPALIVE_S)
    return aiohttp.ClientSession(
        headers=internal_headers(), timeout=timeout, connector=connections, cookie_jar=aiohttp.DummyCookieJar()
    )


@router.get("/models", dependencies=READ, summary="List the served models", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """What the engine answers for now."""
    return await forward(request, "GET", "/v1/models")


@router.post(
    "/chat/completions",
    dependencies=SUBMIT,
    openapi_extra=object_body("model", "messages"),
    summary="Ask a served model",
    response_model=None,
)
async def complete_chat(request: Request) -> Response:
    """OpenAI's chat completions, with `stream` too; which fields are taken is the engine's to say."""
    return await forward(request, "POST", "/v1/chat/completions", await read_request(request))


@router.post(
    "/completions",
    dependencies=SUBMIT,
    openapi_extra=object_body("model", "prompt"),
    summary="Have a served model go on with a text",
    response_model=None,
)
async def complete_text(request: Request) -> Response:
    """OpenAI's completions: the text as it stands, without a chat template."""
    return await forward(request, "POST", "/v1/completions", await read_request(request))


async def read_request(request: Request) -> bytes:
    require_media_type(request, (JSON,), f"a request to a model is {JSON}")
    return await request.body()


async def forward(request: Request, method: str, path: str, body: bytes | None = None) -> Response:
    """Passes the engine's response on unchanged; errors become problems that keep OpenAI's `error` member.

    When the caller hangs up, the request to the engine is cancelled.
    """
    client: aiohttp.ClientSession = request.app.state.engine
    engine = get_backend(request).engine_url
    headers = {"Content-Type": "application/json", "X-Request-ID": read_request_id(request) or ""}
    ask = client.request(method, engine + path, data=body, headers=headers, allow_redirects=False)
    answer: aiohttp.ClientResponse | None = None
    try:
        answer = await cancel_on_disconnect(request, ask)
        if answer.status == 401:
            message = f"the engine at {engine} does not know this gateway: SENSE_INTERNAL_TOKEN is another one there"
            raise UnavailableError(message, code="engine_unavailable")
        kind = answer.headers.get("content-type", "application/json")
        if answer.ok and kind.startswith(EVENT_STREAM):
            return StreamingResponse(stream_chunks(answer), media_type=kind)
        content = await cancel_on_disconnect(request, answer.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        message = f"the engine at {engine} does not answer ({type(error).__name__}); see: sense status"
        raise UnavailableError(message, code="engine_unavailable") from error
    # Cancellation too: the connection must not stay open when the caller has hung up.
    except BaseException:
        if answer is not None:
            answer.close()
        raise
    return Response(content, media_type=kind) if answer.ok else engine_problem(request, answer, content)


async def stream_chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError):
        # The status is sent already, so the error travels as the last event of the stream.
        error = {"message": "the engine broke off; send the request again", "type": "server_error", "param": None}
        yield b"data: " + json.dumps({"error": {**error, "code": "engine_died"}}).encode() + b"\n\n"
    finally:
        answer.close()


def engine_problem(request: Request, answer: aiohttp.ClientResponse, content: bytes) -> Response:
    try:
        error = dict(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        error = {"message": f"the engine answered {answer.status} without saying why", "code": None}
    error["message"] = clip(str(error.get("message") or "the engine gave no reason"), DETAIL_CHARS)
    # Only the engine knows when it has room again.
    retry_after = answer.headers.get("retry-after")
    return PROBLEMS.respond(
        request,
        answer.status,
        str(error.get("code") or "engine_error"),
        error["message"],
        headers={"Retry-After": retry_after} if retry_after else None,
        error=error,
    )
