"""What is asked of Redis and the store before anything starts on them."""

from pathlib import Path

import pytest

from shared.errors import ConflictError, UnavailableError
from shared.processes.health import (
    DATA_VERSION,
    VERSION_KEY,
    VERSION_OBJECT,
    check_data_version,
    check_redis,
    check_store,
    is_alive,
    main,
    touch_alive,
)
from shared.redis import connect_redis
from shared.settings import RedisSettings
from shared.storage.directory import DirectoryStore
from tests.support.valkey import start_valkey


def test_a_good_redis_and_store_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_valkey(tmp_path / "redis", append_only=True) as url:
        monkeypatch.setenv("SENSE_REDIS_URL", url)
        monkeypatch.setenv("SENSE_STORE_ROOT", str(tmp_path / "objects"))
        assert main(["preflight"]) == 0, capsys.readouterr().err
        assert list(DirectoryStore(tmp_path / "objects").list("")) == [VERSION_OBJECT]


def test_a_redis_that_may_lose_work_is_refused(tmp_path: Path) -> None:
    with start_valkey(tmp_path / "redis", append_only=True) as url:
        client = connect_redis(RedisSettings.model_validate({"url": url}))
        check_redis(client)
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConflictError, match="noeviction"):
            check_redis(client)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "no")
        with pytest.raises(ConflictError, match="appendonly yes"):
            check_redis(client)


class OldRedis:
    def info(self) -> dict[str, str]:
        return {"redis_version": "5.0.14"}


def test_an_old_redis_is_refused() -> None:
    with pytest.raises(ConflictError, match=r"5\.0\.14"):
        check_redis(OldRedis())


def test_data_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    objects = DirectoryStore(tmp_path / "objects")
    with start_valkey(tmp_path / "redis") as url:
        client = connect_redis(RedisSettings.model_validate({"url": url}))
        check_data_version(client, "p:", objects)
        check_data_version(client, "p:", objects)
        objects.put(VERSION_OBJECT, str(DATA_VERSION + 1).encode())
        with pytest.raises(ConflictError, match="the object store holds data of a newer Sense"):
            check_data_version(client, "p:", objects)
        objects.put(VERSION_OBJECT, str(DATA_VERSION).encode())
        client.set(f"p:{VERSION_KEY}", DATA_VERSION + 5)
        with pytest.raises(ConflictError, match="Redis holds data of a newer Sense"):
            check_data_version(client, "p:", objects)


def test_an_upgrade_keeps_the_older_version_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version stayed that of the first start, so that the older Sense could always come back and misread."""
    objects = DirectoryStore(tmp_path / "objects")
    with start_valkey(tmp_path / "redis") as url:
        client = connect_redis(RedisSettings.model_validate({"url": url}))
        check_data_version(client, "p:", objects)
        monkeypatch.setattr("shared.processes.health.DATA_VERSION", DATA_VERSION + 1)
        check_data_version(client, "p:", objects)
        monkeypatch.setattr("shared.processes.health.DATA_VERSION", DATA_VERSION)
        with pytest.raises(ConflictError, match="restore a backup made before the upgrade"):
            check_data_version(client, "p:", objects)
        objects.delete(VERSION_OBJECT)
        with pytest.raises(ConflictError, match="Redis holds"):
            check_data_version(client, "p:", objects)


def test_every_fault_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SENSE_REDIS_URL", "redis://127.0.0.1:9/0")
    for name, value in (
        ("KIND", "minio"),
        ("ENDPOINT", "127.0.0.1:9"),
        ("ACCESS_KEY", "a" * 8),
        ("SECRET_KEY", "b" * 8),
    ):
        monkeypatch.setenv(f"SENSE_STORE_{name}", value)
    assert main(["preflight"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Redis", "object store"]


def test_a_sign_of_life_grows_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSE_HEALTH_ALIVE", raising=False)
    touch_alive()
    assert not is_alive()
    monkeypatch.setenv("SENSE_HEALTH_ALIVE", str(tmp_path / "alive"))
    assert main(["alive"]) == 1
    touch_alive()
    assert main(["alive"]) == 0
    assert not is_alive(within_s=-1)
    monkeypatch.setenv("SENSE_HEALTH_ALIVE", str(tmp_path / "no" / "alive"))
    touch_alive()
    assert not is_alive()


def test_a_store_that_damages_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = DirectoryStore(tmp_path)
    monkeypatch.setattr(objects, "get", lambda key: b"other")
    with pytest.raises(UnavailableError, match="other bytes"):
        check_store(objects)
