"""How our HTTP processes are served: command line, uvicorn, deadlines, and callers who hang up."""

import argparse
import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.auto import AutoHTTPProtocol


class HeadTimeoutProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Closes a connection that does not finish the head of a request within `head_s`; uvicorn would wait forever.

    How long a body may take is up to the application.
    """

    head_s = 20.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _look(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()  # a request is being answered
        elif self._late is None and not self.transport.is_closing():
            self._late = asyncio.get_running_loop().call_later(self.head_s, self._close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        self.transport.close()


def address_parser(module: str, *, port: int | None, note: str = "") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--host", default="127.0.0.1", help=note or None)
    parser.add_argument("--port", type=int, default=port, required=port is None)
    return parser


def uvicorn_config(app: FastAPI, given: argparse.Namespace, *, grace_s: int) -> uvicorn.Config:
    """Our logs instead of uvicorn's, no Server header, a deadline for heads, and `grace_s` for requests at shutdown."""
    return uvicorn.Config(
        app,
        host=given.host,
        port=given.port,
        http=HeadTimeoutProtocol,
        access_log=False,
        log_config=None,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=grace_s,
    )


Result = TypeVar("Result")


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Cancels `work` and raises `ClientDisconnect` if the caller hangs up. The body must be read before."""
    task, leaving = asyncio.create_task(work), asyncio.create_task(gone(request))
    try:
        await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        # Both tasks end here, so that no work goes on after its request.
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
