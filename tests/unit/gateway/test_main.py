"""The process: where it may listen without keys."""

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.__main__ import check_host, is_loopback
from services.gateway.app import create_app
from services.gateway.app import make_ring as make_key_ring
from services.gateway.backend import Backend
from services.gateway.keys.service import KeyRing, open_signer
from services.gateway.settings import AuthSettings
from shared.errors import InvalidInputError, UnavailableError


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)])
def test_which_hosts_are_this_machine(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def make_ring(backend: Backend, **settings: str) -> KeyRing:
    ring = make_key_ring(replace(backend, auth=AuthSettings.model_validate(settings)))
    assert ring is not None
    return ring


def test_other_machines_need_keys_or_an_explicit_wish(backend: Backend) -> None:
    ring = make_ring(backend)
    check_host("127.0.0.1", ring)
    with pytest.raises(InvalidInputError, match="SENSE_ADMIN_KEY"):
        check_host("0.0.0.0", ring)
    check_host("0.0.0.0", make_ring(backend, auth="disabled"))
    check_host("0.0.0.0", make_ring(backend, admin_key="k" * 32))
    ring.add("first", "admin", None)
    check_host("0.0.0.0", make_ring(backend))


def test_a_key_that_can_be_guessed_is_refused(backend: Backend, tmp_path: Path) -> None:
    for setting in ("admin_key", "metrics_key"):
        with pytest.raises(InvalidInputError, match="openssl rand"):
            make_ring(backend, **{setting: "secret"})
    with pytest.raises(InvalidInputError, match="openssl rand"):
        open_signer(AuthSettings.model_validate({"key_secret": "new-and-long-enough,old"}), tmp_path, local=False)


def test_a_gateway_whose_keys_cannot_be_read_starts_here_and_lets_nobody_in(backend: Backend) -> None:
    away = replace(backend, redis_url="redis://127.0.0.1:9/0")  # nobody listens on the discard port
    check_host("127.0.0.1", make_ring(away))
    with pytest.raises(UnavailableError):
        check_host("0.0.0.0", make_ring(away))
    with TestClient(create_app(away), raise_server_exceptions=False) as api:
        assert api.get("/v1/databases").status_code == 503
        assert api.get("/healthz").status_code == 200
