"""The REST API. `python -m services.gateway.app > docs/openapi.json` writes its description."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from services.gateway import databases, health, models
from services.gateway.backend import Backend, open_sandbox_client
from services.gateway.browsing import curves, examples, pairs, predictions
from services.gateway.console.routes import router as console_router
from services.gateway.datasets.routes import router as datasets_router
from services.gateway.http.access import READ, GuardedRoute, guarded_routes, install_access_control
from services.gateway.http.limits import ConcurrencyLimit
from services.gateway.http.middleware import CompressionMiddleware, RequestMiddleware
from services.gateway.http.problems import PROBLEM_RESPONSE, PROBLEMS
from services.gateway.jobs import events
from services.gateway.jobs import routes as jobs
from services.gateway.keys.routes import router as keys_router
from services.gateway.keys.service import KeyRing, RevokedKeys
from services.gateway.reports.routes import router as reports_router
from services.gateway.settings import GatewaySettings
from shared.api.resources import Problem
from shared.contracts.spec import SPEC
from shared.errors import UnavailableError
from shared.http.slots import Slots
from shared.settings import SandboxSettings

UPLOAD = ("POST", "/v1/databases")
DATASET = ("POST", "/v1/datasets")
REF = "#/components/schemas/{model}"
ROUTERS = (
    *(jobs.router, jobs.specs_router, jobs.shards_router, jobs.artifacts_router, events.router),
    *(examples.router, pairs.router, predictions.router, curves.router, reports_router),
    *(datasets_router, databases.router, databases.execute_router),
    *(models.adapters_router, models.router, keys_router, health.router, console_router),
)


document = APIRouter(route_class=GuardedRoute, include_in_schema=False)


@document.get("/openapi.json", dependencies=READ)
async def get_openapi_document(request: Request) -> dict[str, Any]:
    """What this API takes and gives."""
    app: FastAPI = request.app
    return app.openapi()


def create_app(backend: Backend | None = None) -> FastAPI:
    """The application. Without a backend it can only describe itself."""
    settings = backend.settings if backend else GatewaySettings()
    sandbox = backend.sandbox if backend else SandboxSettings()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if backend is None:
            yield
            return
        async with (
            models.open_engine_client(backend) as app.state.engine,
            open_sandbox_client(backend) as app.state.sandbox,
            models.open_serving_client(backend) as app.state.serving,
        ):
            yield

    app = FastAPI(
        title="Sense",
        version=version("sense-sql"),
        summary="Text-to-SQL models from strong data and weak mistakes, as jobs.",
        lifespan=lifespan,
        docs_url=None,  # both pages load scripts from other hosts; the console and openapi.json serve in their place
        redoc_url=None,
        openapi_url=None,  # FastAPI's own route has no role: `document` below has
        redirect_slashes=False,  # a redirect is made before any role is asked, and to whatever Host says
        responses=PROBLEM_RESPONSE,
    )
    app.state.backend = backend
    app.state.keys = ring = make_ring(backend)
    app.state.streams = ConcurrencyLimit(
        "event streams", "too_many_streams", each=settings.key_streams, total=settings.streams
    )
    app.state.dataset_slots = Slots(
        settings.dataset_uploads,
        wait_s=sandbox.wait_s,
        waiting=sandbox.waiting,
        what="the gateway for datasets",
        busy=UnavailableError,
    )
    bodies = ConcurrencyLimit("bodies", "too_many_bodies", each=settings.key_bodies, total=settings.bodies)
    # Uploads are streamed; every other body is held in memory and has the small limit.
    larger = {UPLOAD: sandbox.max_upload_bytes, DATASET: settings.max_dataset_bytes}
    # Starlette runs the middleware that is added last first: `RequestMiddleware` wraps the others.
    app.add_middleware(CompressionMiddleware, minimum_size=1024, compresslevel=5)
    if settings.origins:
        allow_origins(app, settings)
    app.add_middleware(RequestMiddleware, settings=settings, larger=larger, bodies=bodies)
    PROBLEMS.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(document)
    # After all routers: it refuses to start with a route that declares no role.
    install_access_control(app, ring, settings)
    app.openapi = describe(app)  # type: ignore[method-assign]
    return app


def make_ring(backend: Backend | None) -> KeyRing | None:
    if backend is None:
        return None
    return KeyRing(
        backend.objects,
        backend.auth,
        signer=backend.signer,
        memory=RevokedKeys(backend.redis_url, backend.jobs.prefix),
        limits=backend.settings,
    )


def allow_origins(app: FastAPI, settings: GatewaySettings) -> None:
    """Lets pages of the configured origins call with a key; cookies are never read."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=sorted(settings.origins),
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID"],
        expose_headers=["Location", "X-Request-ID", "Retry-After", "Idempotency-Replayed"],
    )


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Adds the schemas of what routes parse themselves, the spec and the problem, to FastAPI's document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes, tags=app.openapi_tags
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            spec = SPEC.json_schema(ref_template=REF)
            # pydantic nests its definitions; in OpenAPI they are schemas beside the others.
            schemas.update(spec.pop("$defs"))
            schemas["Spec"] = spec
            problem = Problem.model_json_schema(ref_template=REF, mode="serialization")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
            drop_framework_errors(document)
            add_security(document, guarded_routes(app))
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def drop_framework_errors(document: dict[str, Any]) -> None:
    """Removes FastAPI's own 422 shape, which is never sent; `default` describes the errors that are."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def add_security(document: dict[str, Any], routes: list[GuardedRoute]) -> None:
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["key"] = {"type": "http", "scheme": "bearer", "description": "needed once a key is set"}
    for route in routes:
        if route.needs.role is not None and route.include_in_schema:
            for method in route.methods or ():
                document["paths"][route.path_format][method.lower()]["security"] = [{}, {"key": []}]


def render() -> str:
    return json.dumps(create_app().openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
