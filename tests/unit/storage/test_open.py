"""Settings decide the store."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import InvalidInputError
from shared.storage.directory import DirectoryStore
from shared.storage.minio_store import MinioStore
from shared.storage.open import StoreSettings, open_store


def test_directory_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_STORE_ROOT", str(tmp_path / "objects"))
    store = open_store(StoreSettings())
    assert isinstance(store, DirectoryStore)
    assert store.root == tmp_path / "objects"


def test_minio_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"KIND": "minio", "ENDPOINT": "https://s3.example:9000/", "ACCESS_KEY": "a", "SECRET_KEY": "hidden-secret"}
    for name, value in values.items():
        monkeypatch.setenv(f"SENSE_STORE_{name}", value)
    settings = StoreSettings()
    assert (settings.endpoint, settings.secure) == ("s3.example:9000", True)
    assert "hidden-secret" not in repr(settings)
    store = open_store(settings)
    assert isinstance(store, MinioStore)
    assert (store.endpoint, store.bucket) == ("s3.example:9000", "sense")


def test_minio_without_keys_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="SENSE_STORE_SECRET_KEY"):
        open_store(StoreSettings(kind="minio", access_key=SecretStr("a")))
