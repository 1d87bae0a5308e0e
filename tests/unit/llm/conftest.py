"""Fixtures of the client's tests: a real server, a real store, quick retries."""

from pathlib import Path

import pytest

from shared.storage.directory import DirectoryStore
from tests.support.fixtures import openai_server

__all__ = ["openai_server"]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects")
