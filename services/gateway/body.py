"""Reads what callers send, at a bounded cost and beside the event loop."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from services.gateway.backend import get_backend
from services.gateway.problems import BodyTooLargeError, MediaTypeError
from shared.plain_data import check_json, read_json, read_yaml

JSON_TYPES = frozenset({"application/json"})
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})


def media_type(request: Request) -> str:
    """The body's type, lower case, without parameters."""
    return request.headers.get("content-type", "application/json").split(";")[0].strip().lower()


async def read_spec_body(request: Request) -> object:
    """The body as data. Raises `MediaTypeError` for other types, `InvalidInputError` for what cannot be read."""
    kind = media_type(request)
    if kind not in JSON_TYPES | YAML_TYPES:
        raise MediaTypeError(f"a spec is application/json or application/yaml, not {kind}")
    body, most = await request.body(), get_backend(request).settings.max_spec_bytes
    if len(body) > most:
        raise BodyTooLargeError(f"the spec is above {most} bytes; send less")
    return await run_in_threadpool(read_json if kind in JSON_TYPES else read_yaml, body)


class BoundedRoute(APIRoute):
    """A route whose JSON body is read in a thread, and refused where it holds more than any request needs.

    FastAPI reads and validates bodies on the event loop: a megabyte of wrong fields kept it for seconds.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, once the body was looked at."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            if self.body_field is not None:
                await run_in_threadpool(check_json, await request.body())
            return await handle(request)

        return bounded
