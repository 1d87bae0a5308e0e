import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.cli.app import main
from services.gateway.backend import Backend
from tests.support.asking import serve_asking
from tests.support.engine import Engine, start_engine
from tests.support.gateway import make_backend, serve
from tests.support.sandbox import serve_sandbox
from tests.support.valkey import module_redis_url, redis_url

__all__ = ["module_redis_url", "redis_url"]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Sense = Callable[..., Ended]


@pytest.fixture
def sense(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Sense:
    """Runs the command in this process, away from any stack of this folder."""
    monkeypatch.delenv("SENSE_URL", raising=False)
    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "state"))

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["sense", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def engine() -> Iterator[Engine]:
    with start_engine("tuned", answer="```sql\nSELECT name FROM singer ORDER BY age;\n```") as server:
        yield server


@pytest.fixture
def backend(module_redis_url: str, tmp_path: Path, engine: Engine) -> Backend:
    return make_backend(module_redis_url, tmp_path / "objects", engine_url=engine.url)


@pytest.fixture
def asking(
    module_redis_url: str, tmp_path: Path, engine: Engine, sense: Sense, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A gateway with a sandbox and the serving service behind it."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(serve_sandbox(tmp_path))
        serving = stack.enter_context(serve_asking(sandbox.objects, engine.url, sandbox.url))
        backend = make_backend(
            module_redis_url, sandbox.objects.root, engine_url=engine.url, sandbox=sandbox.settings, serving_url=serving
        )
        url = stack.enter_context(serve(backend))
        monkeypatch.setenv("SENSE_URL", url)
        yield url


@pytest.fixture
def stack(backend: Backend, sense: Sense, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running gateway that the command finds by SENSE_URL."""
    with serve(backend) as url:
        monkeypatch.setenv("SENSE_URL", url)
        yield url


@pytest.fixture
def singers(tmp_path: Path) -> Path:
    path = tmp_path / "singers.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE singer (name TEXT, age INT)")
        database.executemany("INSERT INTO singer VALUES (?, ?)", [("Ann", 41), ("Bo", 29), ("[red]Cy", 35)])
    database.close()
    return path
