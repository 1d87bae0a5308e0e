from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.app import create_app
from services.gateway.backend import Backend
from tests.support.gateway import make_backend
from tests.support.valkey import module_redis_url, redis_url

__all__ = ["module_redis_url", "redis_url"]


@pytest.fixture
def backend(module_redis_url: str, tmp_path: Path) -> Backend:
    return make_backend(module_redis_url, tmp_path / "objects")


@pytest.fixture
def api(backend: Backend) -> Iterator[TestClient]:
    with TestClient(create_app(backend), raise_server_exceptions=False) as client:
        yield client
