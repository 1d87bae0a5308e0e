"""Reads what callers send, at a bounded cost and beside the event loop."""

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from services.gateway.backend import get_backend
from services.gateway.problems import BodyTooLargeError, MediaTypeError
from shared.parsing import read_json, read_yaml

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
