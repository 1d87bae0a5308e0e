"""The process: where it may listen without keys."""

import pytest

from services.gateway.__main__ import check_host, is_loopback
from shared.errors import InvalidInputError


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)])
def test_which_hosts_are_this_machine(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def test_other_machines_need_an_explicit_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSE_AUTH", raising=False)
    check_host("127.0.0.1")
    with pytest.raises(InvalidInputError, match="SENSE_AUTH=disabled"):
        check_host("0.0.0.0")
    monkeypatch.setenv("SENSE_AUTH", "disabled")
    check_host("0.0.0.0")
