"""Old names of settings are refused: by every process that reads settings, with the new name."""

import os
import subprocess
import sys

import pytest

from shared.errors import InvalidInputError
from shared.llm.endpoints import LlmSettings
from shared.settings import RENAMED, LogSettings, RedisSettings, SandboxSettings, find_renamed
from shared.storage.cache import CacheSettings
from shared.storage.open import StoreSettings


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_name_is_refused_with_the_new_one(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(old, "1")
    with pytest.raises(InvalidInputError, match=f"{old} is no longer read; .*{RENAMED[old] or 'remove it'}") as raised:
        RedisSettings()
    assert raised.value.code == "old_setting"


@pytest.mark.parametrize("settings", [CacheSettings, LlmSettings, LogSettings, StoreSettings])
def test_every_class_of_settings_refuses_it(settings: type[LogSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    settings()
    monkeypatch.setenv("sense_sandbox_most_rows", "10")  # pydantic-settings reads names in any case
    with pytest.raises(InvalidInputError, match=r"sense_sandbox_most_rows .* SENSE_SANDBOX_MAX_ROWS"):
        settings()


def test_a_new_name_is_read_and_no_old_name_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_SANDBOX_MAX_ROWS", "10")
    assert SandboxSettings().max_rows == 10 and list(find_renamed()) == []
    assert RENAMED.keys().isdisjoint(new for new in RENAMED.values() if new)


def test_a_process_ends_at_its_start() -> None:
    command = [sys.executable, "-m", "services.gateway", "--port", "0"]
    ended = subprocess.run(
        command,
        env={**os.environ, "SENSE_CACHE_ROWS_BYTES": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0 and "SENSE_CACHE_RECORDS_BYTES" in ended.stderr
