"""The one shape of errors of all our HTTP processes: problem details (RFC 9457) with a code that stays the same.

OpenAI's clients read a member `error`; answers to them carry both.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.api.resources import Fault, Problem
from shared.errors import SenseError
from shared.http.guard import PROBLEM_TYPE
from shared.logging import get_logger

CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
MAX_FAULTS, PATH_CHARS, MESSAGE_CHARS, DETAIL_CHARS = 50, 200, 500, 2000
log = get_logger()


def problem_response(
    *,
    status: int,
    code: str,
    detail: str,
    instance: str,
    request_id: str | None = None,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """Bounded in size, however much was wrong; `more` are extension members."""
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
            for fault in faults[:MAX_FAULTS]
        ],
    )
    return JSONResponse(
        {**body.model_dump(mode="json"), **more},
        status_code=status,
        headers=dict(headers) if headers else None,
        media_type=PROBLEM_TYPE,
    )


def openai_error(status: int, code: str, message: str, param: object = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": kind, "param": param, "code": code}


def clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def read_request_id(request: Request) -> str | None:
    found = request.scope.get("state", {}).get("request_id")
    return found if isinstance(found, str) else None


class ProblemHandlers:
    """The error handlers of one app.

    Responses under `openai_paths` carry OpenAI's `error` too. An `is_engine` app is an OpenAI server itself: all its
    errors carry it, and what would be 422 is 400 under /v1, as with OpenAI. `retry_after_s` goes with 429 and 503;
    `headers_for` adds headers of the app.
    """

    def __init__(
        self,
        *,
        retry_after_s: str = "2",
        openai_paths: Container[str] = (),
        is_engine: bool = False,
        headers_for: Callable[[SenseError], Mapping[str, str]] = lambda error: {},
    ) -> None:
        self.retry_after_s, self.openai_paths, self.is_engine = retry_after_s, openai_paths, is_engine
        self.headers_for = headers_for

    def install(self, app: FastAPI) -> None:
        app.add_exception_handler(SenseError, self.handle_sense_error)
        app.add_exception_handler(RequestValidationError, self.handle_validation_error)
        app.add_exception_handler(HTTPException, self.handle_http_error)
        app.add_exception_handler(ClientDisconnect, handle_disconnect)

    def respond(
        self, request: Request, status: int, code: str, detail: str, *, param: object = None, **more: Any
    ) -> JSONResponse:
        path = request.scope["path"]
        if self.is_engine and status == 422 and path.startswith("/v1/"):
            status = 400
        if self.is_engine or path in self.openai_paths:
            more.setdefault("error", openai_error(status, code, clip(detail, DETAIL_CHARS), param))
        more.setdefault("instance", path)
        return problem_response(status=status, code=code, detail=detail, request_id=read_request_id(request), **more)

    async def handle_sense_error(self, request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SenseError)
        return self.respond_to(request, error)

    def respond_to(self, request: Request, error: SenseError) -> JSONResponse:
        headers = dict(self.headers_for(error))
        if error.http_status in (429, 503):
            headers["Retry-After"] = self.retry_after_s
        faults = [Fault.model_validate(fault) for fault in getattr(error, "faults", [])[:MAX_FAULTS]]
        param = getattr(error, "param", None)
        return self.respond(
            request, error.http_status, error.code, error.message, faults=faults, headers=headers, param=param
        )

    async def handle_validation_error(self, request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        found = error.errors()
        faults = [
            Fault(path=".".join(str(part) for part in fault["loc"]), message=str(fault["msg"]))
            for fault in found[:MAX_FAULTS]
        ]
        listed = "; ".join(f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in faults)
        detail = f"the request has {len(found)} fault(s): {listed}"
        return self.respond(request, 422, "invalid_request", detail, faults=faults, param=faults[0].path)

    async def handle_http_error(self, request: Request, error: Exception) -> JSONResponse:
        """The framework's own errors: no such address, no such method."""
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, SenseError):  # FastAPI wraps whatever ends a body early
            return self.respond_to(request, error.__cause__)
        detail = {
            404: f"there is no address {request.scope['path']}; see /openapi.json",
            405: f"{request.method} is not possible on {request.scope['path']}",
        }.get(error.status_code, str(error.detail))
        code = CODES.get(error.status_code, f"http_{error.status_code}")
        return self.respond(request, error.status_code, code, detail, headers=error.headers)


async def handle_disconnect(_: Request, error: Exception) -> Response:
    log.info("http.left", error=type(error).__name__)
    return Response(status_code=400)
