"""The worker's settings as a real worker has them: a server, a store, short leases, all from the environment."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.jobs.store import JobStore
from tests.support.valkey import module_redis_url
from tests.unit.jobs.helpers import open_jobs

__all__ = ["module_redis_url"]


@pytest.fixture
def jobs(module_redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobStore]:
    prefix = f"t{uuid.uuid4().hex[:8]}:"
    values = {
        "SENSE_REDIS_URL": module_redis_url,
        "SENSE_REDIS_PREFIX": prefix,
        "SENSE_STORE_ROOT": str(tmp_path / "objects"),
        "SENSE_STATE": str(tmp_path / "state"),
        "SENSE_LEASE_SECONDS": "0.9",
        "SENSE_LEASE_RETRY_PAUSE_S": "0",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    store = open_jobs(module_redis_url, prefix)
    yield store
    store.client.close()
