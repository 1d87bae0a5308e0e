"""Requests to an ASGI application as uvicorn would hand them over, bytes of the path and all, without a socket."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI


@dataclass(frozen=True)
class Reply:
    """What came back, and which route the router had chosen: its path and whether it takes the method."""

    status: int
    headers: dict[str, str]
    body: bytes
    route: str | None
    takes_method: bool

    @property
    def code(self) -> str:
        """The code of our own errors."""
        try:
            return str(json.loads(self.body).get("code", ""))
        except (ValueError, AttributeError):
            return ""


async def ask(
    app: FastAPI,
    method: str,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes = b"",
    *,
    most: int = 65536,
) -> Reply:
    """One request; `target` is the raw path and query. An answer without an end is left after `most` bytes."""
    raw, _, query = target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw.decode("latin-1")),
        "raw_path": raw,
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8100),
        "state": {},
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    start: dict[str, Any] = {}
    out = bytearray()

    async def receive() -> dict[str, Any]:
        if not incoming:
            await asyncio.Event().wait()  # the caller stays
        return incoming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        elif len(out) < most:
            out.extend(message.get("body", b""))

    await app(scope, receive, send)  # type: ignore[arg-type]
    route = scope.get("route")
    return Reply(
        status=start["status"],
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]},
        body=bytes(out),
        route=getattr(route, "path", None),
        takes_method=method in (getattr(route, "methods", None) or ()),
    )
