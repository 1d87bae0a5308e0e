"""How our HTTP processes are served: a head that does not come to its end is not waited for."""

import argparse
import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvicorn
from fastapi import FastAPI

from shared.http.server import HeadTimeoutProtocol, uvicorn_config
from tests.support.s3_server import free_ports

HEAD_S = 0.4


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(HeadTimeoutProtocol, "head_s", HEAD_S)
    app = FastAPI()

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(3 * HEAD_S)
        return "done"

    port = free_ports(1)[0]
    server = uvicorn.Server(uvicorn_config(app, argparse.Namespace(host="127.0.0.1", port=port), grace_s=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    yield port
    server.should_exit = True
    thread.join(10)


def connected(port: int) -> closing[socket.socket]:
    return closing(socket.create_connection(("127.0.0.1", port), timeout=20))


WHOLE = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("part", [b"", b"G", WHOLE[:-2]])
def test_half_a_head_is_given_up(port: int, part: bytes) -> None:
    with connected(port) as one:
        one.sendall(part)
        assert one.recv(100) == b""


def test_a_head_that_drips_is_given_up(port: int) -> None:
    with connected(port) as one:
        one.sendall(b"GET /slow HTTP/1.1\r\nX: ")
        deadline = time.monotonic() + 20
        with pytest.raises(OSError):  # the server has closed
            while time.monotonic() < deadline:
                one.sendall(b"x")
                time.sleep(0.02)


def test_a_second_head_on_the_connection_is_due_too(port: int) -> None:
    with connected(port) as one:
        one.sendall(WHOLE)
        assert b"done" in read_answer(one)
        one.sendall(WHOLE[:10])
        assert one.recv(100) == b""


def test_a_slow_answer_and_an_idle_connection_are_not_cut_off(port: int) -> None:
    with connected(port) as one:
        for _ in range(2):
            one.sendall(WHOLE)
            assert b"done" in read_answer(one)
            time.sleep(2 * HEAD_S)


def read_answer(connection: socket.socket) -> bytes:
    data = b""
    while b"done" not in data:
        chunk = connection.recv(4096)
        assert chunk, data
        data += chunk
    return data
