"""The app factory of our internal HTTP services: guarded, without pages of the framework, with one shape of errors."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.http.guard import Guard, GuardMiddleware
from shared.http.problems import ProblemHandlers

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_internal_app(
    title: str, *, lifespan: Lifespan, guard: Guard | None = None, problems: ProblemHandlers | None = None
) -> FastAPI:
    # No pages of the framework: they load scripts from other hosts.
    app = FastAPI(title=title, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GuardMiddleware, guard=guard or Guard.from_settings())
    (problems or ProblemHandlers()).install(app)
    return app


def add_metrics_route(app: FastAPI) -> None:

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
