"""Errors as RFC 9457 problem details, with stable types and codes."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.api.resources import Fault, Problem
from shared.errors import SenseError

JSON, PROBLEM_TYPE = "application/json", "application/problem+json"
CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
RETRY_AFTER_S = "2"
MAX_FAULTS, PATH_CHARS, MESSAGE_CHARS, DETAIL_CHARS = 50, 200, 500, 2000
OPENAI_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/models"})
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
    """The body's type, lower case, without parameters. Raises `MediaTypeError` for one that is not `known`."""
    kind = request.headers.get("content-type", next(iter(known))).split(";")[0].strip().lower()
    if kind not in known:
        raise MediaTypeError(f"{what}, not {kind}")
    return kind


def problem_response(
    *,
    status: int,
    code: str,
    detail: str,
    instance: str,
    request_id: str | None,
    faults: list[Fault] | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """`more` are extension members. Its size is bounded, however many faults there are."""
    body = Problem(
        type=f"https://sense.invalid/errors/{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=clip(detail, DETAIL_CHARS),
        instance=clip(instance, PATH_CHARS),
        code=clip(code, PATH_CHARS),
        request_id=request_id,
        errors=[
            Fault(path=clip(fault.path, PATH_CHARS), message=clip(fault.message, MESSAGE_CHARS))
            for fault in (faults or [])[:MAX_FAULTS]
        ],
    )
    if instance in OPENAI_PATHS:
        more.setdefault("error", openai_error(status, body.code, body.detail))
    content = {**body.model_dump(mode="json"), **more}
    return JSONResponse(content, status_code=status, headers=headers, media_type=PROBLEM_TYPE)


def clip(text: str, most: int) -> str:
    """The text, cut where it is too long."""
    return text if len(text) <= most else text[: most - 1] + "…"


def openai_error(status: int, code: str, message: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": kind, "param": None, "code": code}


def request_id(request: Request) -> str | None:
    """The id that the middleware gave the request."""
    found = request.scope.get("state", {}).get("request_id")
    return found if isinstance(found, str) else None


def handle_sense_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SenseError)
    faults = [Fault(**fault) for fault in getattr(error, "faults", [])[:MAX_FAULTS]]
    return problem_response(
        status=error.http_status,
        code=error.code,
        detail=error.message,
        instance=request.scope["path"],
        request_id=request_id(request),
        faults=faults,
        headers=retry_headers(error),
    )


def retry_headers(error: SenseError) -> dict[str, str] | None:
    """When to retry; and that the connection closes where a body was not read to its end."""
    if error.http_status in (429, 503):
        return {"Retry-After": RETRY_AFTER_S}
    return {"Connection": "close"} if isinstance(error, BodyTooLargeError | BodyTimeoutError) else None


def handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Invalid parameters: all of them, each with its path."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    faults = [
        Fault(path=".".join(str(part) for part in fault["loc"]), message=str(fault["msg"]))
        for fault in found[:MAX_FAULTS]
    ]
    detail = "; ".join(f"{fault.path}: {fault.message}" for fault in faults)
    return problem_response(
        status=422,
        code="invalid_request",
        detail=f"the request has {len(found)} fault(s): {detail}",
        instance=request.scope["path"],
        request_id=request_id(request),
        faults=faults,
    )


def handle_http_error(request: Request, error: Exception) -> JSONResponse:
    """Errors of the framework: unknown address, unknown method."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, SenseError):  # FastAPI calls whatever ends a body early a fault in it
        return handle_sense_error(request, error.__cause__)
    status = error.status_code
    detail = {
        404: f"there is no address {request.scope['path']}; see /openapi.json",
        405: f"{request.method} is not possible on {request.scope['path']}",
    }.get(status, str(error.detail))
    return problem_response(
        status=status,
        code=CODES.get(status, f"http_{status}"),
        detail=detail,
        instance=request.scope["path"],
        request_id=request_id(request),
        headers=dict(error.headers) if error.headers else None,
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Registers the handlers; the middleware answers everything else."""
    app.add_exception_handler(SenseError, handle_sense_error)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_error)
