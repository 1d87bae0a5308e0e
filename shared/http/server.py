"""What the HTTP processes of our services have in common: their command line, and how they are served."""

import argparse
import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.auto import AutoHTTPProtocol


class HeadTimeoutProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol, which waits for the head of a request for ever: here a connection that does not finish one in
    `head_s` is closed. How long a body may take is the application's to say.
    """

    head_s = 20.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The first head is due."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """A part of a head, or of a body."""
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
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
    """`python -m MODULE [--host H] [--port P]`; without a usual `port` it has to be named."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--host", default="127.0.0.1", help=note or None)
    parser.add_argument("--port", type=int, default=port, required=port is None)
    return parser


def uvicorn_config(app: FastAPI, given: argparse.Namespace, *, grace_s: int) -> uvicorn.Config:
    """Our log lines instead of uvicorn's, no name of it, a deadline for heads; `grace_s` for what runs at the end."""
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
    """The work's result. Call it once the body is read. Raises ClientDisconnect where the caller left before."""
    task, leaving = asyncio.create_task(work), asyncio.create_task(gone(request))
    try:
        await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def gone(request: Request) -> None:
    """Returns when the caller has hung up; after the body the server says nothing else."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
