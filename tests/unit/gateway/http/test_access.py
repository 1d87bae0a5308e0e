"""Keys and roles: no route without a key once one is set, no change from another site while there is none."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.app import create_app
from services.gateway.backend import Backend
from services.gateway.http.access import TokenBuckets
from services.gateway.keys import service as keys_module
from services.gateway.settings import AuthSettings
from shared.api.resources import Problem
from shared.storage.keys import KEYS_PREFIX
from tests.support.asgi import ask

ADMIN = "operators-own-key-0123456789"


def as_key(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def closed(backend: Backend) -> Iterator[TestClient]:
    """A gateway with the operator's key."""
    own = replace(backend, auth=AuthSettings.model_validate({"admin_key": ADMIN}))
    with TestClient(create_app(own), raise_server_exceptions=False) as api:
        yield api


def make(api: TestClient, name: str, role: str, **more: int) -> str:
    answer = api.post("/v1/keys", json={"name": name, "role": role, **more}, headers=as_key(ADMIN))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def routes(api: TestClient) -> list[tuple[str, str]]:
    document = api.app.openapi()  # type: ignore[attr-defined]
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def test_no_route_answers_without_a_key(closed: TestClient) -> None:
    asked = [*routes(closed), ("GET", "/openapi.json"), ("GET", "/nowhere"), ("PUT", "/v1/jobs"), ("GET", "/docs")]
    open_ones = []
    for method, path in asked:
        answer = closed.request(method, path.replace("{", "").replace("}", ""))
        if answer.status_code != 401:
            open_ones.append(path)
            continue
        assert Problem.model_validate_json(answer.content).code == "key_missing"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert set(open_ones) == {"/healthz", "/readyz"}


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer", "Basic b3BlcmF0b3I6eA==", "bearer  ", "Bearer é"])
def test_what_is_no_key_is_refused(closed: TestClient, given: str) -> None:
    answer = closed.get("/v1/jobs", headers={"Authorization": given.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert Problem.model_validate_json(answer.content).code in ("key_missing", "key_unknown")


def test_what_has_no_route_is_refused_like_what_has_one(closed: TestClient) -> None:
    text = make(closed, "reader", "read")
    for method, path in (("PATCH", "/v1/anything"), ("GET", "/consoles"), ("POST", "/console/x"), ("GET", "/v1/jobs/")):
        assert closed.request(method, path, follow_redirects=False).status_code == 401
        assert closed.request(method, path, headers=as_key(text), follow_redirects=False).status_code in (404, 405)
    assert closed.get("/console/%2e%2e/v1/jobs").status_code in (401, 404)


def test_nobody_is_read_from_before_the_role_is_known(closed: TestClient) -> None:
    """A body that cannot be read would be answered with 422."""
    text = make(closed, "reader", "read")
    broken = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    assert closed.post("/v1/keys", **broken).status_code == 401  # type: ignore[arg-type]
    broken["headers"] = {"Content-Type": "application/json", **as_key(text)}
    assert closed.post("/v1/keys", **broken).status_code == 403  # type: ignore[arg-type]


def test_nothing_of_a_key_is_kept_or_shown(closed: TestClient, backend: Backend) -> None:
    text = make(closed, "reader", "read")
    stored = [backend.objects.get(key) for key in backend.objects.list(KEYS_PREFIX)]
    assert stored
    assert all(text.encode() not in data for data in stored)
    listed = closed.get("/v1/keys", headers=as_key(ADMIN)).text
    assert text not in listed
    assert json.loads(json.loads(stored[0])["record"])["sha256"] not in listed
    assert [key["name"] for key in json.loads(listed)["data"]] == ["reader"]


def test_a_removed_key_is_refused(closed: TestClient) -> None:
    text = make(closed, "reader", "read")
    assert closed.get("/v1/jobs", headers=as_key(text)).status_code == 200
    assert closed.delete("/v1/keys/reader", headers=as_key(ADMIN)).status_code == 204
    assert closed.get("/v1/jobs", headers=as_key(text)).status_code == 401
    assert closed.post("/v1/keys", json={"name": "operator"}, headers=as_key(ADMIN)).status_code == 409


def test_a_key_of_another_gateway_is_seen_within_seconds(
    closed: TestClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_app(replace(backend, auth=AuthSettings.model_validate({"admin_key": ADMIN})))
    with TestClient(other) as second:
        text = make(second, "reader", "read")
    assert closed.get("/v1/jobs", headers=as_key(text)).status_code in (200, 401)
    monkeypatch.setattr(keys_module, "REFRESH_S", 0.0)
    assert closed.get("/v1/jobs", headers=as_key(text)).status_code == 200


def test_the_first_key_closes_the_gateway_and_the_last_stays(api: TestClient, backend: Backend) -> None:
    assert api.get("/v1/jobs").status_code == 200
    assert api.post("/v1/keys", json={"name": "me", "role": "read"}).json()["code"] == "first_key_not_admin"
    text = api.post("/v1/keys", json={"name": "me", "role": "admin"}).json()["key"]
    assert api.get("/v1/jobs").status_code == 401
    assert api.delete("/v1/keys/me", headers=as_key(text)).json()["code"] == "last_admin_key"
    for key in list(backend.objects.list(KEYS_PREFIX)):
        backend.objects.delete(key)  # a store that lost its keys opens nothing
    api.app.state.keys.refresh(now=True)  # type: ignore[attr-defined]
    assert api.get("/v1/jobs", headers=as_key(text)).status_code == 401
    assert api.get("/v1/jobs").status_code == 401


def test_a_key_may_call_so_often(closed: TestClient) -> None:
    text = make(closed, "slow", "read", per_minute=12)  # a burst of two, then one in five seconds
    statuses = [closed.get("/v1/jobs", headers=as_key(text)).status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    answer = closed.get("/v1/jobs", headers=as_key(text))
    assert Problem.model_validate_json(answer.content).code == "rate_limited"
    assert 1 <= int(answer.headers["Retry-After"]) <= 6
    assert closed.get("/v1/jobs", headers=as_key(ADMIN)).status_code == 200


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("services.gateway.http.access.time.monotonic", lambda: now[0])
    buckets = TokenBuckets()
    assert [buckets.wait_s("k", 60) for _ in range(11)][-2:] == [0.0, 1.0]
    now[0] = 1.0
    assert buckets.wait_s("k", 60) == 0.0


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "", "localhost.attacker.example:1"])
def test_without_keys_no_other_name_is_answered(api: TestClient, host: str) -> None:
    answer = api.get("/v1/jobs", headers={"Host": host})
    assert answer.json()["code"] == "host_refused"


@pytest.mark.parametrize("host", ["localhost:8100", "127.0.0.1", "[::1]:8100"])
def test_without_keys_this_machines_names_are(api: TestClient, host: str) -> None:
    assert api.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_without_keys_no_other_site_changes_anything(api: TestClient, backend: Backend) -> None:
    spec = {"kind": "synthesis"}
    for origin in ("https://attacker.example", "null", "http://testserver:1"):
        assert api.post("/v1/jobs", json=spec, headers={"Origin": origin}).json()["code"] == "origin_refused"
    assert backend.jobs.job_ids() == []
    assert api.post("/v1/jobs", json=spec, headers={"Origin": "http://testserver"}).status_code == 202


MALFORMED: list[bytes] = [
    *(
        b"[::1",
        b"[",
        b"]:80",
        b"[v1.x]",
        b"localhost:port",
        b"localhost:-1",
        b"localhost:999999",
        b"a:b:c",
        b":",
        b"",
        b"@",
    ),
    *(b"\xff\xfe", b"\xc3\xa9.example", b"x" * 20_000, b"http://[::1", b"//", b"127.0.0.1 x", b"127.0.0.1,x", b"%00"),
]


@pytest.mark.parametrize("auth", ["keys", "disabled", "locked"])
def test_malformed_headers_are_refused_and_break_nothing(backend: Backend, auth: str) -> None:
    own = {"admin_key": ADMIN} if auth == "locked" else {"auth": auth}
    app = create_app(replace(backend, auth=AuthSettings.model_validate(own)))
    given = [(b"authorization", b"Bearer " + ADMIN.encode())] if auth == "locked" else []

    async def run() -> None:
        for odd in MALFORMED:
            for method, path in (("GET", b"/v1/jobs"), ("GET", b"/v1/jobs/no"), ("POST", b"/v1/jobs"), ("GET", b"/no")):
                for name, other in ((b"host", []), (b"origin", [(b"host", b"127.0.0.1:8100")])):
                    reply = await ask(app, method, path, [(name, odd), *other, *given], b"{}")
                    told = (odd[:30], name, method, path, reply.status, reply.code)
                    assert reply.status < 500, told
                    if auth != "locked" and (name == b"host" or odd):
                        assert reply.code == ("host_refused" if name == b"host" else "origin_refused"), told
                reply = await ask(app, method, path, [(b"authorization", odd), (b"host", b"127.0.0.1")], b"{}")
                assert reply.status < 500

    asyncio.run(run())


def test_disabled_keys_leave_pages_outside(backend: Backend) -> None:
    app = create_app(replace(backend, auth=AuthSettings.model_validate({"auth": "disabled"})))
    with TestClient(app, raise_server_exceptions=False) as api:
        assert api.get("/v1/jobs").status_code == 200
        assert api.get("/v1/jobs", headers={"Host": "10.0.0.7:8100"}).status_code == 200  # an address cannot be rebound
        for host in ("attacker.example", "0.0.0.0:8100", "[::]"):
            assert api.get("/v1/jobs", headers={"Host": host}).json()["code"] == "host_refused"
        for page in ({"Origin": "https://attacker.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert api.post("/v1/jobs", json={"kind": "synthesis"}, headers=page).json()["code"] == "origin_refused"
            assert api.get("/v1/jobs", headers=page).json()["code"] == "origin_refused"
        assert api.get("/healthz", headers={"Host": "attacker.example"}).status_code == 200
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert api.get("/v1/jobs", headers=link).status_code == 200
    assert backend.jobs.job_ids() == []


def test_cors_is_off_by_default_and_on_for_named_origins(api: TestClient, backend: Backend) -> None:
    ask = {"Origin": "https://ours.example", "Access-Control-Request-Method": "GET"}
    assert "Access-Control-Allow-Origin" not in api.options("/v1/jobs", headers=ask).headers
    settings = backend.settings.model_copy(update={"cors_origins": "https://ours.example"})
    with TestClient(create_app(replace(backend, settings=settings))) as other:
        answer = other.options("/v1/jobs", headers=ask)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://ours.example"
        assert (
            "Access-Control-Allow-Origin" not in other.get("/v1/jobs", headers={"Origin": "https://x.example"}).headers
        )


def test_a_store_that_is_away_lets_nobody_in(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.errors import UnavailableError

    def away(prefix: str) -> Iterator[str]:
        raise UnavailableError("the object store does not answer; check it")

    with TestClient(create_app(backend), raise_server_exceptions=False) as api:
        monkeypatch.setattr(backend.objects, "list", away)
        monkeypatch.setattr(keys_module, "REFRESH_S", 0.0)
        assert api.get("/v1/jobs").status_code == 503
        assert api.get("/healthz").status_code == 200


def test_large_answers_are_compressed(api: TestClient) -> None:
    answer = api.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in api.get("/openapi.json", headers={"Accept-Encoding": "identity"}).headers
