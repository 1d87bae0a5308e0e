"""The gateway's errors: all of them leave as problem details, with stable types and codes."""

from collections.abc import Collection
from typing import Any

from fastapi import Request

from shared.errors import SenseError
from shared.http.guard import PROBLEM_TYPE
from shared.http.problems import ProblemHandlers

JSON = "application/json"
PROBLEM_RESPONSE: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Problem details (RFC 9457)",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


class BodyTooLargeError(SenseError):
    code = "body_too_large"
    http_status = 413


class BodyTimeoutError(SenseError):
    """The body did not arrive in time."""

    code = "body_late"
    http_status = 408


class MediaTypeError(SenseError):
    """The route does not take bodies of this type."""

    code = "unsupported_media_type"
    http_status = 415


def require_media_type(request: Request, known: Collection[str], what: str) -> str:
    """The body's type, lower case, without parameters. Raises `MediaTypeError` if it is not in `known`."""
    kind = request.headers.get("content-type", next(iter(known))).split(";")[0].strip().lower()
    if kind not in known:
        raise MediaTypeError(f"{what}, not {kind}")
    return kind


def connection_headers(error: SenseError) -> dict[str, str]:
    """Closes the connection where a body was refused before its end: the rest of it is never read."""
    return {"Connection": "close"} if isinstance(error, BodyTooLargeError | BodyTimeoutError) else {}


PROBLEMS = ProblemHandlers(
    openai_paths=frozenset({"/v1/chat/completions", "/v1/completions", "/v1/models"}), headers_for=connection_headers
)
