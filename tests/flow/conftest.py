"""Stacks for flow tests; their environment is what a deployment would set."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.harness import Stack
from tests.support.fixtures import openai_server
from tests.support.valkey import module_redis_url

__all__ = ["module_redis_url", "openai_server"]
StartStack = Callable[..., Stack]


@pytest.fixture
def start_stack(module_redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartStack:
    """Starts a stack of its own prefix; the object store is shared by name."""

    def start(seed: int | None = None, objects: str = "objects") -> Stack:
        prefix = f"f{uuid.uuid4().hex[:8]}:"
        values = {
            "SENSE_REDIS_URL": module_redis_url,
            "SENSE_REDIS_PREFIX": prefix,
            "SENSE_STORE_ROOT": str(tmp_path / objects),
            "SENSE_STATE": str(tmp_path / "state"),
            "SENSE_LEASE_SECONDS": "20",
            "SENSE_LEASE_RETRY_PAUSE_S": "0",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return Stack(values, seed)

    return start
