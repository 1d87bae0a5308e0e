"""The process: where it may listen without keys."""

from pathlib import Path

import pytest

from services.gateway.__main__ import check_host, is_loopback
from services.gateway.keys import KeyRing
from services.gateway.settings import AuthSettings
from shared.errors import InvalidInputError
from shared.storage.directory import DirectoryStore


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)])
def test_which_hosts_are_this_machine(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def make_ring(root: Path, **settings: str) -> KeyRing:
    return KeyRing(DirectoryStore(root), AuthSettings.model_validate(settings), per_minute=60)


def test_other_machines_need_keys_or_an_explicit_wish(tmp_path: Path) -> None:
    ring = make_ring(tmp_path)
    check_host("127.0.0.1", ring)
    with pytest.raises(InvalidInputError, match="SENSE_ADMIN_KEY"):
        check_host("0.0.0.0", ring)
    check_host("0.0.0.0", make_ring(tmp_path, auth="disabled"))
    check_host("0.0.0.0", make_ring(tmp_path, admin_key="k" * 32))
    ring.add("first", "admin", None)
    check_host("0.0.0.0", make_ring(tmp_path))


def test_a_key_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="openssl rand"):
        make_ring(tmp_path, admin_key="secret")
