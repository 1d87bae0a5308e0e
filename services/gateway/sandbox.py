"""The sandbox's HTTP service as the gateway calls it: its answers as they are, its errors as problems."""

from typing import Any

import httpx
from fastapi import Request

from services.gateway.backend import Backend, get_backend
from services.gateway.problems import request_id
from shared.client.internal import client_for, patience, sandbox_at

AROUND_S = 30.0  # what a call may take beside its own budget: waiting for a slot, fetching the database
STEPS = 3  # of an upload once it is there: check, describe, store; each may take `intake_s`


def sandbox_client(backend: Backend) -> httpx.AsyncClient:
    """One client a process."""
    return client_for(sandbox_at(backend.sandbox.url), patience(AROUND_S), kept=16)


async def ask_sandbox(request: Request, path: str, *, seconds: float, **options: Any) -> httpx.Response:
    """The sandbox's good answer to a POST. Raises RefusedError, or UnavailableError (code sandbox_unavailable)."""
    client: httpx.AsyncClient = request.app.state.sandbox
    headers = {"X-Request-ID": request_id(request) or "", **options.pop("headers", {})}
    call = client.post(path, headers=headers, timeout=patience(seconds + AROUND_S), **options)
    return await sandbox_at(get_backend(request).sandbox.url).answered(call)
