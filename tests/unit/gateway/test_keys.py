"""Keys at rest: who can write the store can take keys away and make none; what is removed stays removed."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY

from services.gateway.app import create_app
from services.gateway.backend import Backend
from services.gateway.keys import service as keys_module
from services.gateway.keys.service import SECRET_FILE, KeySigner, hash_key, open_signer
from services.gateway.settings import AuthSettings
from shared.errors import UnavailableError
from shared.storage.keys import KEYS_PREFIX, api_key_key
from tests.unit.gateway.http.test_access import ADMIN, as_key

SECRET = b"tests-own-signing-secret"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request looks at the store, as if the refresh had just come."""
    monkeypatch.setattr(keys_module, "REFRESH_S", 0.0)


@contextmanager
def gateway(backend: Backend, **auth: str) -> Iterator[TestClient]:
    """One replica."""
    own = replace(backend, auth=AuthSettings.model_validate(auth))
    with TestClient(create_app(own), raise_server_exceptions=False) as api:
        yield api


def make(api: TestClient, name: str, role: str, by: str = ADMIN) -> str:
    answer = api.post("/v1/keys", json={"name": name, "role": role}, headers=as_key(by))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def status(api: TestClient, key: str) -> int:
    return api.get("/v1/databases", headers=as_key(key)).status_code


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("sense_key_records_refused_total", {"reason": reason}) or 0.0


def test_a_key_replaced_under_its_name_is_refused_by_every_replica(backend: Backend) -> None:
    with gateway(backend, admin_key=ADMIN) as one, gateway(backend, admin_key=ADMIN) as two:
        old = make(one, "bob", "submit")
        assert (status(one, old), status(two, old)) == (200, 200)
        assert one.delete("/v1/keys/bob", headers=as_key(ADMIN)).status_code == 204
        new = make(one, "bob", "read")
        assert (status(one, old), status(two, old)) == (401, 401)
        assert (status(one, new), status(two, new)) == (200, 200)


def test_who_can_write_the_store_makes_no_key(backend: Backend) -> None:
    own = {"id": "0" * 16, "name": "eve", "role": "admin", "sha256": hash_key("eves-own-key"), "per_minute": 60}
    record = json.dumps({**own, "created_at": 0.0, "limits": {}})
    forged: list[str | bytes] = [
        record,
        json.dumps({"record": record, "signature": ""}),
        json.dumps({"record": record, "signature": "é"}),
        KeySigner([b"another-gateways-secret"]).sign(
            api_key_key("eve"), keys_module.StoredKey.model_validate_json(record)
        ),
    ]
    with gateway(backend, admin_key=ADMIN) as api:
        bob = make(api, "bob", "submit")
        for text in forged:
            backend.objects.put(api_key_key("eve"), text if isinstance(text, bytes) else text.encode())
            assert status(api, "eves-own-key") == 401
            assert status(api, bob) == 200
        lifted = backend.objects.get(api_key_key("bob")).replace(b"submit", b"admin")
        backend.objects.put(api_key_key("bob"), lifted)
        assert status(api, bob) == 401


def test_a_copied_record_is_nobodys(backend: Backend) -> None:
    before = refused("signature")
    with gateway(backend, admin_key=ADMIN) as api:
        bob = make(api, "bob", "submit")
        backend.objects.put(api_key_key("copy"), backend.objects.get(api_key_key("bob")))
        assert [key["name"] for key in api.get("/v1/keys", headers=as_key(ADMIN)).json()["data"]] == ["bob"]
        assert api.delete("/v1/keys/bob", headers=as_key(ADMIN)).status_code == 204
        assert status(api, bob) == 401
        assert api.delete("/v1/keys/copy", headers=as_key(ADMIN)).status_code == 204  # what is refused can be cleared
    assert refused("signature") == before + 1


@pytest.mark.parametrize("when", ["while it runs", "after a new start"])
def test_an_old_record_put_back_opens_nothing(backend: Backend, when: str) -> None:
    with gateway(backend, admin_key=ADMIN) as api:
        bob = make(api, "bob", "submit")
        kept = backend.objects.get(api_key_key("bob"))
        assert api.delete("/v1/keys/bob", headers=as_key(ADMIN)).status_code == 204
        if when == "while it runs":
            backend.jobs.client.flushall()  # this process remembers by itself
            backend.objects.put(api_key_key("bob"), kept)
            assert status(api, bob) == 401
            return
    backend.objects.put(api_key_key("bob"), kept)
    with gateway(backend, admin_key=ADMIN) as api:
        assert status(api, bob) == 401
        new = make(api, "bob", "submit")
        assert status(api, new) == 200
        backend.objects.put(api_key_key("bob"), kept)
        assert status(api, bob) == 401


DAMAGE: dict[str, Callable[[Backend, Path], object]] = {
    "empty": lambda backend, _: backend.objects.put(api_key_key("poor"), b""),
    "bytes": lambda backend, _: backend.objects.put(api_key_key("poor"), bytes(range(256))),
    "deep": lambda backend, _: backend.objects.put(api_key_key("poor"), b"[" * 100_000),
    "large": lambda backend, _: backend.objects.put(api_key_key("poor"), b" " * 5_000_000),
    "surrogate": lambda backend, _: backend.objects.put(api_key_key("poor"), b'{"record":"\\ud800","signature":"0"}'),
    "null": lambda backend, _: backend.objects.put(api_key_key("poor"), b"null"),
    "odd name": lambda backend, _: backend.objects.put("keys/ü/deep/x", b"{}"),
    "line end in its name": lambda _, root: (root / "keys" / "a\nb.json").write_text("{}"),
    "bytes in its name": lambda _, root: (root / "keys" / os.fsdecode(b"\xff\xfe.json")).write_text("{}"),
    "unreadable": lambda _, root: (root / "keys" / "poor.json").symlink_to(root / "keys" / "poor.json"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_locks_out_nobody_else(backend: Backend, tmp_path: Path, kind: str) -> None:
    with gateway(backend, admin_key=ADMIN) as api:
        bob = make(api, "bob", "submit")
        DAMAGE[kind](backend, tmp_path / "objects")
        assert status(api, bob) == 200
        assert status(api, "sense_unknown") in (401, 503)
        assert make(api, "carol", "read")
        assert [key["name"] for key in api.get("/v1/keys", headers=as_key(ADMIN)).json()["data"]] == ["bob", "carol"]
    with gateway(backend, admin_key=ADMIN) as api:
        assert status(api, bob) == 200


def test_a_record_that_cannot_be_read_now_is_no_unknown_key(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway(backend, admin_key=ADMIN) as api:
        bob, carol = make(api, "bob", "submit"), make(api, "carol", "submit")
    real = backend.objects.open_chunks

    def away(key: str, size: int = 1) -> Iterator[bytes]:
        if key == api_key_key("bob"):
            raise UnavailableError("the object store does not answer; check it")
        return real(key, size)

    with gateway(backend, admin_key=ADMIN) as api:
        monkeypatch.setattr(backend.objects, "open_chunks", away)
        assert (status(api, carol), status(api, bob)) == (200, 503)
        monkeypatch.setattr(backend.objects, "open_chunks", real)
        assert status(api, bob) == 200


def test_a_gateway_that_had_keys_stays_closed_after_a_new_start(backend: Backend) -> None:
    with gateway(backend) as api:
        assert api.post("/v1/keys", json={"name": "me", "role": "admin"}).status_code == 201
    for key in list(backend.objects.list(KEYS_PREFIX)):
        backend.objects.delete(key)
    with gateway(backend) as api:
        assert api.get("/v1/jobs").status_code == 401


def test_records_that_nobody_can_read_open_nothing(backend: Backend) -> None:
    backend.objects.put(api_key_key("old"), b'{"name":"old","role":"admin","sha256":"0","per_minute":1,"created_at":0}')
    with gateway(backend) as api:
        assert api.get("/v1/jobs").status_code == 401


def test_a_secret_is_renewed_without_a_gap(backend: Backend) -> None:
    with gateway(backend, admin_key=ADMIN) as api:
        bob = make(api, "bob", "submit")
    both = replace(backend, signer=KeySigner([b"the-new-signing-secret", SECRET]))
    with gateway(both, admin_key=ADMIN) as api:
        assert status(api, bob) == 200
    with gateway(replace(backend, signer=KeySigner([b"the-new-signing-secret"])), admin_key=ADMIN) as api:
        assert status(api, bob) == 200
    with gateway(backend, admin_key=ADMIN) as api:
        assert status(api, bob) == 401


def test_without_a_secret_no_key_is_made_and_the_sentence_names_it(backend: Backend) -> None:
    with gateway(replace(backend, signer=KeySigner(())), admin_key=ADMIN) as api:
        answer = api.post("/v1/keys", json={"name": "me"}, headers=as_key(ADMIN))
        assert (answer.status_code, answer.json()["code"]) == (422, "key_secret_missing")
        assert "SENSE_KEY_SECRET" in answer.json()["detail"]
        assert status(api, ADMIN) == 200


def test_the_local_stack_keeps_a_secret_of_its_own(tmp_path: Path) -> None:
    settings = AuthSettings()
    open_signer(settings, tmp_path, local=True)
    assert list(tmp_path.iterdir()) == []  # it is made when the first key is
    key = keys_module.StoredKey(id="1", name="a", role="read", sha256="0", per_minute=1, created_at=0.0)
    first = open_signer(settings, tmp_path, local=True).sign("keys/a.json", key)
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    assert open_signer(settings, tmp_path, local=True).read("keys/a.json", first) == (key, False)
    assert [path.name for path in tmp_path.iterdir()] == [SECRET_FILE]


def test_the_scraping_key_reads_metrics_and_nothing_else(backend: Backend) -> None:
    scraper = "prometheus-own-key-0123456789"
    with gateway(backend, admin_key=ADMIN, metrics_key=scraper) as api:
        assert api.get("/metrics", headers=as_key(scraper)).status_code == 200
        document = api.app.openapi()  # type: ignore[attr-defined]
        for path, methods in document["paths"].items():
            if path in ("/metrics", "/healthz", "/readyz"):
                continue
            for method in methods:
                answer = api.request(method, path.replace("{", "").replace("}", ""), headers=as_key(scraper))
                assert (answer.status_code, answer.json()["code"]) == (403, "role_needed"), (method, path)
    with gateway(backend, metrics_key=scraper) as api:  # it alone closes nothing: nobody could make keys
        assert api.get("/v1/databases").status_code == 200
