"""The sandbox's HTTP service as the gateway calls it: its answers as they are, its errors as problems."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from services.gateway.backend import Backend, get_backend
from services.gateway.problems import request_id
from shared.client.internal import client_for, patience, sandbox_at

AROUND_S = 30.0  # what a call may take beside its own budget: waiting for a slot, fetching the database
PIECE = 65_536  # bytes of an answer that are compressed and sent at once
STEPS = 3  # of an upload once it is there: check, describe, store; each may take `intake_timeout_s`


def sandbox_client(backend: Backend) -> httpx.AsyncClient:
    """One client a process."""
    return client_for(sandbox_at(backend.sandbox.url), patience(AROUND_S), kept=16)


async def ask_sandbox(request: Request, path: str, *, seconds: float, **options: Any) -> httpx.Response:
    """The sandbox's good answer to a POST. Raises RefusedError, or UnavailableError (code sandbox_unavailable)."""
    client: httpx.AsyncClient = request.app.state.sandbox
    headers = {"X-Request-ID": request_id(request) or "", **options.pop("headers", {})}
    call = client.post(path, headers=headers, timeout=patience(seconds + AROUND_S), **options)
    return await sandbox_at(get_backend(request).sandbox.url).answered(call)


def as_it_is(content: bytes) -> Response:
    """A good answer of one of our services as it came: reading a large one again would keep the event loop.

    In pieces, so that others have their turn between the compressing of two.
    """
    if len(content) <= PIECE:
        return Response(content, media_type="application/json")

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(content), PIECE):
            yield content[begin : begin + PIECE]

    return StreamingResponse(pieces(), media_type="application/json")
