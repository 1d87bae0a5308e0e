"""A vLLM whose end is noticed between looking its model up and asking it: nothing was asked, so it is asked again."""

import contextlib
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import Request

from services.serving.vllm.app import forward_request
from shared.errors import UnavailableError

BODY = json.dumps({"model": "m", "prompt": "SELECT"}).encode()


class EndedServer:
    """Not running until it is settled, where `comes_back`."""

    def __init__(self, comes_back: bool) -> None:
        self.running, self.settled, self._comes_back = False, 0, comes_back

    @property
    def url(self) -> str:
        assert self.running, "an ended server has no address"
        return "http://vllm"

    async def settle(self) -> None:
        self.settled += 1
        self.running = self._comes_back

    def lost(self) -> None:
        """Known already."""

    def why_down(self) -> str:
        return "it ended with code 3"


class StubModels:
    def __init__(self, server: EndedServer) -> None:
        self.server = server

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[str]:
        yield name


def ask(server: EndedServer) -> Any:
    messages = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else await anyio.sleep_forever()

    async def run() -> Any:
        answering = httpx.MockTransport(lambda _: httpx.Response(200, json={"choices": []}))
        async with httpx.AsyncClient(transport=answering) as http:
            app = SimpleNamespace(state=SimpleNamespace(models=StubModels(server), http=http))
            scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [], "app": app}
            return await forward_request(Request({**scope, "query_string": b"", "server": ("front", 80)}, receive))

    return anyio.run(run)


def test_it_is_asked_once_it_is_back() -> None:
    server = EndedServer(comes_back=True)
    assert json.loads(ask(server).body) == {"choices": []}
    assert server.settled == 1


def test_one_that_stays_down_is_told_with_its_reason() -> None:
    with pytest.raises(UnavailableError, match="it ended with code 3") as caught:
        ask(EndedServer(comes_back=False))
    assert caught.value.code == "engine_died"
