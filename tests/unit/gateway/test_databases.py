"""Databases over the gateway: streamed to a real sandbox, listed, looked at; every bad file is a problem."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.gateway.backend import Backend
from shared.api.resources import Problem
from shared.catalog.databases import SchemaCard
from shared.storage.keys import card_key
from tests.support.gateway import make_backend, serve
from tests.support.sandbox import Sandbox, make_database, module_sandbox

__all__ = ["module_sandbox"]
SQLITE = {"Content-Type": "application/vnd.sqlite3"}
PATIENCE_S = 20.0


@pytest.fixture
def backend(module_redis_url: str, module_sandbox: Sandbox) -> Backend:
    return make_backend(
        module_redis_url, module_sandbox.objects.root, sandbox=module_sandbox.settings, max_body_bytes=50_000
    )


@pytest.fixture
def http(backend: Backend) -> Iterator[httpx.Client]:
    with serve(backend) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


def upload(http: httpx.Client, data: bytes, **params: str) -> httpx.Response:
    return http.post("/v1/databases", params=params, content=data, headers=SQLITE)


def test_a_file_comes_in_and_can_be_looked_at(http: httpx.Client, tmp_path: Path) -> None:
    data = make_database(tmp_path / "shop.sqlite")
    answer = upload(http, data, name="shop")
    made = answer.json()
    assert (answer.status_code, made["object"], made["name"], made["size"]) == (201, "database", "shop", len(data))
    assert (made["tables"], made["views"], made["triggers"]) == (2, 1, 1)
    assert answer.headers["Location"] == f"/v1/databases/{made['id']}"
    again = upload(http, data, name="other")
    assert (again.status_code, again.json()) == (200, made)
    shown = http.get(answer.headers["Location"]).json()
    assert (shown["size"], shown["upload"]) == (len(data), made)
    assert shown["card"]["tables"][0]["columns"][0]["comment"] == "never reused"


def test_a_body_above_the_gateways_usual_bound_passes_through(http: httpx.Client, tmp_path: Path) -> None:
    data = make_database(tmp_path / "l.sqlite", "CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(900000));")
    assert http.post("/v1/jobs", content=data, headers={"Content-Type": "application/json"}).status_code == 413
    chunks = (data[start : start + 10_000] for start in range(0, len(data), 10_000))
    answer = http.post("/v1/databases", content=chunks, headers={"Content-Type": "application/octet-stream"})
    assert (answer.status_code, answer.json()["size"]) == (201, len(data))


def test_bad_files_are_problems_and_leave_nothing(http: httpx.Client, module_sandbox: Sandbox, tmp_path: Path) -> None:
    large = make_database(tmp_path / "x.sqlite", "CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(2500000));")
    before = list(module_sandbox.objects.list(""))
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (b"", SQLITE, 422, "invalid_database"),
        (b"some text", SQLITE, 422, "invalid_database"),
        (large[:500_000], SQLITE, 422, "invalid_database"),
        (large, SQLITE, 413, "body_too_large"),
        (b"{}", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    ]
    for data, headers, status, code in cases:
        for content in (data, iter([data[:5], data[5:]])):
            answer = http.post("/v1/databases", content=content, headers=headers)
            found = Problem.model_validate_json(answer.content)
            assert (answer.status_code, found.code) == (status, code), answer.text
            assert (found.instance, found.request_id) == ("/v1/databases", answer.headers["X-Request-ID"])
            assert str(tmp_path) not in answer.text
    for name in ("x" * 101, "a\0b", "a\nb"):
        assert upload(http, b"", name=name).json()["code"] == "invalid_request"
    assert list(module_sandbox.objects.list("")) == before
    assert module_sandbox.received() == []


def test_an_upload_that_is_cut_off_leaves_nothing(http: httpx.Client, module_sandbox: Sandbox, tmp_path: Path) -> None:
    before = list(module_sandbox.objects.list(""))
    part = make_database(tmp_path / "cut.sqlite", "CREATE TABLE cut(a);")[:4096]
    for head, body in (
        ("Content-Length: 8192", part),
        ("Transfer-Encoding: chunked", b"1000\r\n" + part + b"\r\n"),
    ):
        with socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=10) as raw:
            kind = "Content-Type: application/octet-stream"
            raw.sendall(f"POST /v1/databases HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{head}\r\n\r\n".encode() + body)
            wait_for(module_sandbox, receiving=True)
        wait_for(module_sandbox, receiving=False)
    assert list(module_sandbox.objects.list("")) == before


def wait_for(sandbox: Sandbox, *, receiving: bool) -> None:
    ends = time.monotonic() + PATIENCE_S
    while bool(sandbox.received()) != receiving:
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_the_list_is_walked_newest_first(http: httpx.Client, tmp_path: Path) -> None:
    ids = []
    for number in range(5):
        time.sleep(0.002)  # records are ordered by the millisecond
        data = make_database(tmp_path / f"{number}.sqlite", f"CREATE TABLE list_{number}(a);")
        ids.append(upload(http, data, name=f"n{number}").json()["id"])
    first = http.get("/v1/databases?limit=2").json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (ids[:2:-1], True)
    second = http.get("/v1/databases", params={"limit": 3, "after": first["last_id"]}).json()
    assert [one["id"] for one in second["data"]] == ids[2::-1]
    oldest = http.get("/v1/databases?limit=100").json()
    assert not oldest["has_more"]
    after_last = http.get("/v1/databases", params={"after": oldest["last_id"]}).json()
    assert (after_last["data"], after_last["has_more"], after_last["last_id"]) == ([], False, None)
    assert http.get("/v1/databases?after=absent").json()["code"] == "unknown_cursor"


def test_databases_that_jobs_built_can_be_looked_at_too(http: httpx.Client, backend: Backend) -> None:
    own = "ab" * 32
    backend.objects.put(card_key(own), SchemaCard(database_id=own, tables=[]).model_dump_json().encode())
    shown = http.get(f"/v1/databases/{own}").json()
    assert (shown["id"], shown["upload"], shown["size"]) == (own, None, None)
    assert own not in http.get("/v1/databases?limit=100").text
    for unknown in ("cd" * 32, "..", "%2e%2e%2fx", "x" * 500):
        answer = http.get(f"/v1/databases/{unknown}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_a_sandbox_that_is_away_is_retryable(module_redis_url: str, tmp_path: Path) -> None:
    backend = make_backend(module_redis_url, tmp_path / "objects")
    data = make_database(tmp_path / "shop.sqlite")
    with serve(backend) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        body = {"database_id": "ab" * 32, "sql": "SELECT 1"}
        for answer in (upload(http, data), http.post("/v1/execute", json=body)):
            assert (answer.status_code, answer.json()["code"]) == (503, "sandbox_unavailable")
            assert answer.headers["Retry-After"]
