"""A store on a real server; each test has a key prefix of its own."""

import pytest

from shared.jobs.store import JobStore
from tests.support.valkey import module_redis_url
from tests.unit.jobs.helpers import open_jobs

__all__ = ["module_redis_url"]


@pytest.fixture
def store(module_redis_url: str) -> JobStore:
    return open_jobs(module_redis_url)
