"""What `make up` refuses before anything starts."""

import socket
import stat
from pathlib import Path

import pytest

from infra.compose import preflight
from infra.compose.preflight import find_faults, port_faults, taken
from infra.compose.secrets_file import SECRETS, add_missing, read_env, weak_secrets


def test_a_first_file_has_random_secrets_for_its_owner_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "a.env", tmp_path / "b.env"
    assert set(add_missing(one)) == set(SECRETS) == set(add_missing(two))
    assert weak_secrets(read_env(one)) == []
    assert not set(read_env(one).values()) & set(read_env(two).values())
    assert stat.S_IMODE(one.stat().st_mode) == 0o600


def test_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nSENSE_REDIS_PASSWORD=mine-and-long-enough\nOTHER=1")
    added = add_missing(path)
    assert "SENSE_REDIS_PASSWORD" not in added and len(added) == len(SECRETS) - 1
    values = read_env(path)
    assert (values["SENSE_REDIS_PASSWORD"], values["OTHER"]) == ("mine-and-long-enough", "1")
    assert add_missing(path) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is not set"),
        ("minioadmin", "can be guessed"),
        ("aaaaaaaaaaaaaaaa", "can be guessed"),
        ("Ab3-x", "5 characters"),
        ("with spaces and / slash", "break addresses"),
    ],
)
def test_weak_secrets_are_named_with_the_remedy(value: str, said: str) -> None:
    values = dict.fromkeys(SECRETS, "long-enough-1234") | {"SENSE_REDIS_PASSWORD": value}
    found = weak_secrets(values)
    assert len(found) == 1 and found[0].startswith("SENSE_REDIS_PASSWORD") and said in found[0]


def test_a_port_that_somebody_has_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert taken("127.0.0.1", port) == "EADDRINUSE"
        found = list(port_faults({"SENSE_PORT_GATEWAY": str(port)}, {"SENSE_PORT_GATEWAY": 8100}, set()))
        assert len(found) == 1 and str(port) in found[0] and "set SENSE_PORT_GATEWAY" in found[0]
        assert list(port_faults({"SENSE_PORT_GATEWAY": str(port)}, {"SENSE_PORT_GATEWAY": 8100}, {port})) == []
    assert "no port" in next(port_faults({"SENSE_PORT_GATEWAY": "many"}, {"SENSE_PORT_GATEWAY": 8100}, set()))


def test_all_faults_come_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    found = find_faults(tmp_path / "absent.env")
    assert any("docker is not installed" in one for one in found)
    assert sum("is not set" in one for one in found) == len(SECRETS)
