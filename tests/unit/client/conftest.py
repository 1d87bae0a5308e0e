from collections.abc import Iterator
from pathlib import Path

import pytest

from services.gateway.backend import Backend
from shared.client.client import SenseClient
from tests.support.engine import Engine, start_engine
from tests.support.gateway import make_backend, serve
from tests.support.valkey import module_redis_url, redis_url

__all__ = ["module_redis_url", "redis_url"]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with start_engine("base", answer="```sql\nSELECT 1\n```") as server:
        yield server


@pytest.fixture
def backend(module_redis_url: str, tmp_path: Path, engine: Engine) -> Backend:
    return make_backend(module_redis_url, tmp_path / "objects", engine_url=engine.url)


@pytest.fixture
def client(backend: Backend) -> Iterator[SenseClient]:
    with serve(backend) as url, SenseClient(url) as client:
        yield client
