"""The sandbox's HTTP service as the gateway calls it: its answers as they are, its errors as problems."""

from typing import Any

import httpx
from fastapi import Request

from services.gateway.backend import Backend, get_backend
from services.gateway.problems import request_id
from shared.errors import SenseError, UnavailableError

CONNECT_S = 5.0
AROUND_S = 30.0  # what a call may take beside its own budget: waiting for a slot, fetching the database
STEPS = 3  # of an upload once it is there: check, describe, store; each may take `intake_s`


class SandboxError(SenseError):
    """What the sandbox refused, with its status."""

    def __init__(self, answer: httpx.Response) -> None:
        try:
            said = answer.json()
            code, message = str(said["code"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "sandbox_error", f"the sandbox answered {answer.status_code} without saying why"
        super().__init__(message, code=code, retryable=answer.status_code == 503)
        self.http_status = answer.status_code


def sandbox_client(backend: Backend) -> httpx.AsyncClient:
    """One client a process; it follows no proxy of the environment: the sandbox is ours."""
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=16)
    return httpx.AsyncClient(base_url=backend.sandbox.url.rstrip("/"), limits=limits, trust_env=False)


def patience(seconds: float) -> httpx.Timeout:
    """For a call that may be silent for so long."""
    return httpx.Timeout(seconds + AROUND_S, connect=CONNECT_S)


async def ask_sandbox(request: Request, path: str, *, seconds: float, **options: Any) -> httpx.Response:
    """The sandbox's good answer to a POST. Raises SandboxError, or UnavailableError (code sandbox_unavailable)."""
    client: httpx.AsyncClient = request.app.state.sandbox
    headers = {"X-Request-ID": request_id(request) or "", **options.pop("headers", {})}
    try:
        answer = await client.post(path, headers=headers, timeout=patience(seconds), **options)
    except httpx.HTTPError as error:
        url = get_backend(request).sandbox.url
        message = f"the sandbox at {url} does not answer ({type(error).__name__}); see: sense status"
        raise UnavailableError(message, code="sandbox_unavailable") from error
    if answer.is_error:
        raise SandboxError(answer)
    return answer
