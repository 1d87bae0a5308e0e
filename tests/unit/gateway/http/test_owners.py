"""Whose jobs, databases and datasets are whose, and what one key may use: real Valkey, real store, real sandbox."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from services.gateway.app import create_app
from services.gateway.backend import Backend
from services.gateway.http.access import Caller
from services.gateway.http.limits import ConcurrencyLimit, GatewayFullError, TooManyOpenError
from services.gateway.settings import AuthSettings
from shared.client.client import SenseClient
from shared.contracts.base import Owner
from shared.jobs.state import ErrorInfo
from shared.llm.budgets import Cost, DayBudget, spent_today
from tests.support.asking import serve_asking
from tests.support.datasets import make_example, make_head
from tests.support.engine import start_engine
from tests.support.gateway import Driver, make_backend, serve
from tests.support.sandbox import ENDLESS, SHOP, Sandbox, make_database, module_sandbox
from tests.unit.gateway.http.test_access import ADMIN, as_key

__all__ = ["module_sandbox"]
SPEC = {"kind": "synthesis", "name": "small"}
STRONG = {"endpoint": "teacher", "model": "large"}


@pytest.fixture
def closed(backend: Backend) -> Iterator[TestClient]:
    with gateway(backend) as api:
        yield api


@contextmanager
def gateway(backend: Backend, **settings: Any) -> Iterator[TestClient]:
    own = replace(
        backend,
        auth=AuthSettings.model_validate({"admin_key": ADMIN}),
        settings=backend.settings.model_copy(update=settings),
    )
    with TestClient(create_app(own), raise_server_exceptions=False) as api:
        yield api


def make(api: TestClient, name: str, role: str = "submit", **limits: float) -> str:
    answer = api.post("/v1/keys", json={"name": name, "role": role, "limits": limits}, headers=as_key(ADMIN))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def submit(api: TestClient, key: str, headers: dict[str, str] | None = None, **spec: Any) -> Any:
    return api.post("/v1/jobs", json={**SPEC, **spec}, headers={**as_key(key), **(headers or {})})


def said(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


# owners


def test_a_job_is_its_keys_and_stays_so_in_the_archive(closed: TestClient, backend: Backend) -> None:
    bob, carol, dave = make(closed, "bob"), make(closed, "carol"), make(closed, "dave", "read")
    job = submit(closed, bob).json()
    assert job["owner"]["name"] == "bob"
    path = f"/v1/jobs/{job['id']}"
    for step in ("cancel", "retry"):
        assert said(closed.post(f"{path}/{step}", headers=as_key(carol))) == (403, "not_owner")
        assert said(closed.post(f"{path}/{step}", headers=as_key(dave))) == (403, "role_needed")
    assert closed.post(f"{path}/cancel", headers=as_key(bob)).status_code in (200, 202)
    backend.jobs.end(job["id"], "cancelled")
    assert said(closed.post(f"{path}/retry", headers=as_key(carol))) == (403, "not_owner")
    assert closed.post(f"{path}/retry", headers=as_key(bob)).status_code == 202
    assert closed.post(f"{path}/cancel", headers=as_key(ADMIN)).status_code in (200, 202)

    driver = Driver(backend)
    backend.jobs.client.hset(backend.jobs.key("job", driver.id), mapping={"owner_id": "k1", "owner": "erin"})
    driver.complete()
    driver.forget()
    archived = closed.get(f"/v1/jobs/{driver.id}", headers=as_key(dave)).json()
    assert (archived["archived"], archived["owner"]) == (True, {"id": "k1", "name": "erin"})
    assert said(closed.post(f"/v1/jobs/{driver.id}/cancel", headers=as_key(bob))) == (403, "not_owner")


def test_a_later_key_of_the_same_name_owns_nothing_of_the_first(closed: TestClient) -> None:
    first = make(closed, "bob")
    job = submit(closed, first).json()["id"]
    assert closed.delete("/v1/keys/bob", headers=as_key(ADMIN)).status_code == 204
    second = make(closed, "bob")
    refused = closed.post(f"/v1/jobs/{job}/cancel", headers=as_key(second))
    assert said(refused) == (403, "not_owner")
    assert "not yours" in refused.json()["detail"]


def test_jobs_are_listed_by_owner(closed: TestClient) -> None:
    bob, carol = make(closed, "bob"), make(closed, "carol")
    of_bob = [submit(closed, bob).json() for _ in range(3)]
    of_carol = submit(closed, carol).json()
    ids = [job["id"] for job in reversed(of_bob)]
    for owner in ("bob", of_bob[0]["owner"]["id"]):
        pages = closed.get("/v1/jobs", params={"owner": owner, "limit": 2}, headers=as_key(carol)).json()
        assert [job["id"] for job in pages["data"]] == ids[:2] and pages["has_more"]
    found = closed.get("/v1/jobs", params={"owner": "carol"}, headers=as_key(bob)).json()["data"]
    assert [(job["id"], job["owner"]["name"]) for job in found] == [(of_carol["id"], "carol")]


def test_without_keys_jobs_have_no_owner_and_everybody_may(api: TestClient) -> None:
    job = api.post("/v1/jobs", json=SPEC).json()
    assert job["owner"] is None
    assert api.post(f"/v1/jobs/{job['id']}/cancel").status_code in (200, 202)


def test_a_job_from_before_the_keys_is_the_admins(backend: Backend) -> None:
    old = Driver(backend)
    with gateway(backend) as api:
        bob = make(api, "bob")
        assert said(api.post(f"/v1/jobs/{old.id}/cancel", headers=as_key(bob))) == (403, "not_owner")
        assert api.post(f"/v1/jobs/{old.id}/cancel", headers=as_key(ADMIN)).status_code in (200, 202)


def test_an_idempotency_key_finds_no_other_keys_job(closed: TestClient) -> None:
    bob, carol = make(closed, "bob"), make(closed, "carol")
    same = {"Idempotency-Key": "today"}
    first, again, other = (submit(closed, key, same).json()["id"] for key in (bob, bob, carol))
    assert first == again != other


# limits


def test_so_many_jobs_and_no_more_by_retries_either(closed: TestClient, backend: Backend) -> None:
    bob, carol = make(closed, "bob", jobs=2), make(closed, "carol")
    one, two = (submit(closed, bob).json()["id"] for _ in range(2))
    refused = submit(closed, bob, {"Idempotency-Key": "third"})
    assert said(refused) == (429, "too_many_jobs")
    assert "bob" in refused.json()["detail"] and " 2 " in refused.json()["detail"] and "Retry-After" in refused.headers
    assert submit(closed, carol).status_code == 202
    backend.jobs.end(one, "cancelled")
    three = submit(closed, bob, {"Idempotency-Key": "third"})  # what was refused left no trace
    assert three.status_code == 202
    assert said(closed.post(f"/v1/jobs/{one}/retry", headers=as_key(bob))) == (429, "too_many_jobs")
    assert submit(closed, bob, {"Idempotency-Key": "third"}).json()["id"] == three.json()["id"]
    backend.jobs.end(two, "failed", ErrorInfo(code="x", message="x"))
    assert closed.post(f"/v1/jobs/{one}/retry", headers=as_key(bob)).status_code == 202
    assert said(submit(closed, bob)) == (429, "too_many_jobs")


def test_other_limits_for_a_key_that_keeps_what_is_its_own(closed: TestClient, backend: Backend) -> None:
    bob = make(closed, "bob", jobs=1, examples=1000)
    job = submit(closed, bob).json()
    assert said(submit(closed, bob)) == (429, "too_many_jobs")
    change = {"limits": {"jobs": 2, "examples": None}}
    assert closed.patch("/v1/keys/bob", json=change, headers=as_key(bob)).status_code == 403
    changed = closed.patch("/v1/keys/bob", json=change, headers=as_key(ADMIN)).json()
    assert (changed["id"], changed["role"], changed["limits"]["jobs"]) == (job["owner"]["id"], "submit", 2)
    assert changed["limits"]["examples"] is None  # the server's again
    assert [submit(closed, bob).status_code for _ in range(2)] == [202, 429]
    assert closed.post(f"/v1/jobs/{job['id']}/cancel", headers=as_key(bob)).status_code in (200, 202)
    for calls, now in ({"per_minute": 7}, 7), ({}, 7), ({"per_minute": None}, backend.settings.key_per_minute):
        assert closed.patch("/v1/keys/bob", json=calls, headers=as_key(ADMIN)).json()["per_minute"] == now
    assert said(closed.patch("/v1/keys/nobody", json=change, headers=as_key(ADMIN))) == (404, "key_not_found")


def test_the_servers_limits_are_for_keys_that_have_none(backend: Backend) -> None:
    with gateway(backend, key_jobs=1, key_examples=100) as api:
        bob, carol = make(api, "bob"), make(api, "carol", jobs=2, examples=1000)
        assert said(submit(api, bob)) == (403, "too_many_examples")  # 320 by default
        small: dict[str, Any] = {"train": {"sft": [{"synthesis": 50}, {"synthesis": 50}]}}
        assert submit(api, bob, **small).status_code == 202
        assert said(submit(api, bob, **small)) == (429, "too_many_jobs")
        assert [submit(api, carol).status_code for _ in range(3)] == [202, 202, 429]
        assert [submit(api, ADMIN).status_code for _ in range(3)] == [202] * 3


def test_a_job_above_the_days_rest_is_refused(closed: TestClient, backend: Backend) -> None:
    bob = make(closed, "bob", usd_per_day=10, tokens_per_day=1000)
    strong = {**STRONG, "budget_usd": 6.0, "budget_tokens": 500}
    first = submit(closed, bob, {"Idempotency-Key": "a"}, strong=strong)
    assert first.status_code == 202
    owner = Owner.model_validate(first.json()["owner"])
    calls = DayBudget(backend.jobs, owner, "j/write/0")  # as a worker makes it
    assert calls.reserve(Cost(300, 7.0), "teacher", "large")
    calls.settle(Cost(300, 7.0), Cost(300, 7.0))
    assert spent_today(backend.jobs, owner.id) == Cost(300, 7.0)
    refused = submit(closed, bob, strong=strong)
    assert said(refused) == (429, "day_spent")
    assert "3 of 10 dollars" in refused.json()["detail"] and "budget_usd" in refused.json()["detail"]
    assert submit(closed, bob, {"Idempotency-Key": "a"}, strong=strong).json()["id"] == first.json()["id"]
    assert said(submit(closed, bob, strong={**STRONG, "budget_tokens": 701})) == (429, "day_spent")
    assert submit(closed, bob, strong={**STRONG, "budget_tokens": 700}).status_code == 202
    assert submit(closed, bob).status_code == 202  # the offline writer costs nothing
    assert submit(closed, make(closed, "carol"), strong=strong).status_code == 202
    again = DayBudget(backend.jobs, owner, "j/write/1")
    assert again.reserve(Cost(700, 3.0), "teacher", "large")
    again.settle(Cost(700, 3.0), Cost(700, 3.0))
    assert said(submit(closed, bob, strong=STRONG)) == (429, "day_spent")  # not even one without a budget


# what keys bring

LINES = {"Content-Type": "application/x-ndjson"}
SQLITE = {"Content-Type": "application/vnd.sqlite3"}


@pytest.fixture
def desk(module_redis_url: str, module_sandbox: Sandbox) -> Iterator[tuple[TestClient, Sandbox]]:
    """A gateway with keys before a real sandbox of two slots."""
    backend = make_backend(module_redis_url, module_sandbox.objects.root, sandbox=module_sandbox.settings)
    for key in list(backend.objects.list("")):
        backend.objects.delete(key)
    with gateway(backend) as api:
        yield api, module_sandbox


def upload(api: TestClient, key: str, data: bytes) -> Any:
    return api.post("/v1/databases", params={"name": "shop"}, content=data, headers={**SQLITE, **as_key(key)})


def bring(api: TestClient, key: str, database_id: str, questions: int, name: str = "singers") -> Any:
    rows = [make_head(name), *(make_example(number, database_id) for number in range(questions))]
    content = "".join(row.model_dump_json() + "\n" for row in rows).encode()
    return api.post("/v1/datasets", content=content, headers={**LINES, **as_key(key)})


def test_keys_remove_what_they_brought_and_nothing_else(desk: tuple[TestClient, Sandbox], tmp_path: Path) -> None:
    api, _ = desk
    bob, carol, erin = make(api, "bob"), make(api, "carol"), make(api, "erin", "read")
    data = make_database(tmp_path / "shop.sqlite")
    made = upload(api, bob, data).json()
    assert made["owner"]["name"] == "bob"
    path = f"/v1/databases/{made['id']}"
    assert said(api.delete(path, headers=as_key(carol))) == (403, "not_owner")
    assert said(api.delete(path, headers=as_key(erin))) == (403, "role_needed")
    assert upload(api, carol, data).status_code == 200
    assert upload(api, carol, data).status_code == 200
    assert api.delete(path, headers=as_key(bob)).status_code == 204
    kept = api.get(path, headers=as_key(bob)).json()  # carol brought the same bytes: they are there still
    assert kept["upload"]["owner"]["name"] == "carol"
    assert bring(api, carol, made["id"], 3).json()["owner"]["name"] == "carol"
    assert said(api.delete(path, headers=as_key(carol))) == (409, "in_use")
    assert said(api.delete("/v1/datasets/singers", headers=as_key(bob))) == (403, "not_owner")
    assert bring(api, bob, made["id"], 4).status_code == 201
    refused = api.delete("/v1/datasets/singers", headers=as_key(carol))  # one of its versions is bob's
    assert said(refused) == (403, "not_owner")
    versions = api.get("/v1/datasets/singers", headers=as_key(carol)).json()["versions"]
    for one, key in zip(versions, (bob, carol), strict=True):
        query = {"version": one["version"]}
        assert api.delete("/v1/datasets/singers", params=query, headers=as_key(key)).status_code == 204
    assert api.delete(path, headers=as_key(carol)).status_code == 204
    assert api.get(path, headers=as_key(carol)).status_code == 404


def test_so_many_bytes_and_what_is_removed_counts_no_more(desk: tuple[TestClient, Sandbox], tmp_path: Path) -> None:
    api, sandbox = desk
    one, two = (make_database(tmp_path / f"{n}.sqlite", SHOP + f"CREATE TABLE t{n}(a);") for n in (1, 2))
    bob, carol = make(api, "bob", stored_bytes=len(one) + 1000), make(api, "carol", stored_bytes=1)
    made = upload(api, bob, one).json()
    for content in (two, iter([two[:5000], two[5000:]])):  # announced, and in chunks
        refused = api.post("/v1/databases", content=content, headers={**SQLITE, **as_key(bob)})
        assert said(refused) == (403, "stored_bytes")
        assert str(len(one) + 1000) in refused.json()["detail"] and "sense databases remove" in refused.json()["detail"]
    assert said(bring(api, bob, made["id"], 50)) == (403, "stored_bytes")
    assert said(upload(api, carol, one)) == (403, "stored_bytes")
    assert bring(api, bob, made["id"], 1).status_code == 201
    assert sandbox.received() == []
    sandbox.objects.put(f"uploads/0-{'0' * 64}.json", b"damaged")
    api.app.state.backend.jobs.client.flushdb()  # type: ignore[attr-defined]
    assert said(upload(api, bob, two)) == (403, "stored_bytes")  # the sum is made anew from the store
    sandbox.objects.delete(f"uploads/0-{'0' * 64}.json")
    assert api.delete("/v1/datasets/singers", headers=as_key(bob)).status_code == 204
    assert api.delete(f"/v1/databases/{made['id']}", headers=as_key(bob)).status_code == 204
    assert upload(api, bob, two).status_code == 201


def test_slow_sql_of_one_key_leaves_a_slot_to_the_others(desk: tuple[TestClient, Sandbox], tmp_path: Path) -> None:
    api, _ = desk
    bob, carol = make(api, "bob"), make(api, "carol")
    shop = upload(api, bob, make_database(tmp_path / "shop.sqlite")).json()["id"]

    def ask(key: str, sql: str) -> Any:
        body = {"database_id": shop, "sql": sql, "deadline_s": 4.0}
        return api.post("/v1/execute", json=body, headers=as_key(key))

    with ThreadPoolExecutor(8) as threads:
        slow = [threads.submit(ask, bob, ENDLESS) for _ in range(4)]
        quick = [ask(carol, "SELECT 1") for _ in range(3)]
        assert [one.status_code for one in quick] == [200] * 3
        found = [one.result() for one in slow]
    assert sorted(one.status_code for one in found) == [200, 429, 429, 429]
    refused = next(one for one in found if one.status_code == 429)
    assert refused.json()["code"] == "key_busy" and "1 of the 2 slots" in refused.json()["detail"]


def test_slow_sql_that_a_model_wrote_is_its_askers(
    module_redis_url: str, module_sandbox: Sandbox, tmp_path: Path
) -> None:
    objects = module_sandbox.objects
    for key in list(objects.list("")):
        objects.delete(key)
    with (
        start_engine("base", answer=ENDLESS) as engine,
        serve_asking(objects, engine.url, module_sandbox.url) as serving,
        gateway(
            make_backend(module_redis_url, objects.root, sandbox=module_sandbox.settings, serving_url=serving)
        ) as api,
        ThreadPoolExecutor(8) as threads,
    ):
        bob, carol = make(api, "bob"), make(api, "carol")
        shop = upload(api, bob, make_database(tmp_path / "shop.sqlite")).json()["id"]
        question = {"question": "?", "model": "base", "database_id": shop, "execute": True, "deadline_s": 4.0}
        slow = [threads.submit(api.post, "/v1/sql", json=question, headers=as_key(bob)) for _ in range(3)]
        statement = {"database_id": shop, "sql": "SELECT 1"}
        quick = [api.post("/v1/execute", json=statement, headers=as_key(carol)) for _ in range(3)]
        assert [one.status_code for one in quick] == [200] * 3
        assert sorted(one.result().status_code for one in slow) == [200, 429, 429]


def test_a_half_sent_file_of_one_key_leaves_a_slot_to_the_others(
    module_redis_url: str, module_sandbox: Sandbox, tmp_path: Path
) -> None:
    backend = make_backend(module_redis_url, module_sandbox.objects.root, sandbox=module_sandbox.settings)
    backend = replace(backend, auth=AuthSettings.model_validate({"admin_key": ADMIN}))
    data = make_database(tmp_path / "shop.sqlite", SHOP + "CREATE TABLE own(a);")
    with serve(backend) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        keys = [http.post("/v1/keys", json={"name": n}, headers=as_key(ADMIN)).json()["key"] for n in ("slow", "fast")]
        with (
            half_sent(url, "/v1/databases", keys[0], data[:2000], len(data)),
            half_sent(url, "/v1/databases", keys[0], data[:2000], len(data)),
        ):
            answer = http.post("/v1/databases", content=data, headers={**SQLITE, **as_key(keys[1])})
            assert answer.status_code == 201


# what is half open


@contextmanager
def half_sent(url: str, path: str, key: str, part: bytes, length: int) -> Iterator[socket.socket]:
    """A request whose body does not come to its end."""
    address = httpx.URL(url)
    kind = SQLITE["Content-Type"] if "databases" in path else "application/json"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\n"
    with closing(socket.create_connection((address.host, address.port or 0), timeout=30)) as connection:
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + part)
        yield connection


def answer_of(connection: socket.socket) -> tuple[bytes, bool]:
    """What comes until the server closes; whether it closed."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data, True


@contextmanager
def listening(backend: Backend, **settings: Any) -> Iterator[tuple[str, str, str]]:
    """A real server with keys: its address, and the keys of bob and carol."""
    own = replace(
        backend,
        auth=AuthSettings.model_validate({"admin_key": ADMIN}),
        settings=backend.settings.model_copy(update=settings),
    )
    with serve(own) as url, httpx.Client(base_url=url, trust_env=False) as http:
        keys = [http.post("/v1/keys", json={"name": n}, headers=as_key(ADMIN)).json()["key"] for n in ("bob", "carol")]
        yield url, keys[0], keys[1]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/execute", "/v1/chat/completions", "/v1/sql", "/v1/datasets"])
def test_a_body_that_does_not_arrive_is_given_up(backend: Backend, path: str) -> None:
    with listening(backend, silent_s=0.2) as (url, bob, _), half_sent(url, path, bob, b"{", 100) as connection:
        if path == "/v1/datasets":
            return_code = b"415"  # it is application/json here, and refused before anything is read
        else:
            return_code = b"408"
        data, _ = answer_of(connection)
        assert data.startswith(b"HTTP/1.1 " + return_code)
        assert return_code == b"415" or (b"body_late" in data and b"nothing came for 0.2 s" in data)


def test_a_body_that_drips_is_given_up_too(backend: Backend) -> None:
    with (
        listening(backend, silent_s=5.0, body_s=0.5) as (url, bob, _),
        half_sent(url, "/v1/jobs", bob, b"{", 10_000) as connection,
    ):
        ended = threading.Event()

        def drip() -> None:
            try:
                while not ended.wait(0.02):
                    connection.sendall(b" ")
            except OSError:
                pass

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            data, _ = answer_of(connection)
        except ConnectionResetError:
            data = b""
        finally:
            ended.set()
            thread.join()
        assert not data or (data.startswith(b"HTTP/1.1 408") and b"0.5 s are over" in data)


def test_half_sent_bodies_are_bounded_a_key_and_in_all(backend: Backend) -> None:
    with (
        listening(backend, key_bodies=2, bodies=3) as (url, bob, carol),
        httpx.Client(base_url=url, trust_env=False, timeout=30) as http,
        half_sent(url, "/v1/jobs", bob, b"{", 100),
        half_sent(url, "/v1/jobs", bob, b"{", 100),
    ):
        wait_for(lambda: said(http.post("/v1/jobs", json=SPEC, headers=as_key(bob))) == (429, "too_many_bodies"))
        assert http.get("/v1/jobs", headers=as_key(bob)).status_code == 200
        assert http.post("/v1/jobs", json=SPEC, headers=as_key(carol)).status_code == 202
        with half_sent(url, "/v1/jobs", carol, b"{", 100):
            wait_for(lambda: said(http.post("/v1/jobs", json=SPEC, headers=as_key(carol))) == (503, "too_many_bodies"))
        wait_for(lambda: http.post("/v1/jobs", json=SPEC, headers=as_key(carol)).status_code == 202)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_streams_are_bounded_a_key_and_in_all_and_given_back(backend: Backend) -> None:
    job = Driver(backend)
    path = f"/v1/jobs/{job.id}/events/stream"
    with (
        listening(backend, key_streams=2, streams=3, poll_s=0.01) as (url, bob, carol),
        httpx.Client(base_url=url, trust_env=False, timeout=30) as http,
    ):

        @contextmanager
        def stream(key: str) -> Iterator[httpx.Response]:
            with http.stream("GET", path, headers=as_key(key)) as answer:
                flow = answer.iter_bytes()  # kept: a stream whose iterator goes is closed
                next(flow) if answer.status_code == 200 else answer.read()
                yield answer
                del flow

        with stream(bob), stream(bob):
            with stream(bob) as third:
                assert said(third) == (429, "too_many_streams")
                assert "bob" in third.json()["detail"] and " 2 " in third.json()["detail"]
            with stream(carol) as own:
                assert own.status_code == 200
                with stream(carol) as fourth:
                    assert said(fourth) == (503, "too_many_streams")

        def free() -> bool:
            with stream(bob) as one, stream(bob) as two:
                return (one.status_code, two.status_code) == (200, 200)

        wait_for(free)


def test_a_client_follows_over_streams_that_grow_old(backend: Backend) -> None:
    with listening(backend, stream_s=0.1, poll_s=0.01) as (url, bob, _), SenseClient(url, api_key=bob) as client:
        job = Driver(backend)
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.extend(one.id for one in client.events(job.id, follow=True)))
        reader.start()
        job.add("write", 0)
        for number in range(30):
            job.progress("write", 0, step=number)
            time.sleep(0.05)
        job.end("cancelled")
        reader.join(30)
        assert not reader.is_alive()
        everything = [one.id for one in client.events(job.id)]
        assert seen == everything and len(seen) > 30


def test_a_gate_counts_by_id_and_gives_back() -> None:
    gate = ConcurrencyLimit("things", "too_many", each=1, total=2)
    bob, carol, other = (Caller(name, "submit", id=name) for name in ("bob", "carol", "dave"))
    with gate.slot(bob):
        with pytest.raises(TooManyOpenError, match="bob has 1 things"):
            gate.check(bob)
        with gate.slot(carol), pytest.raises(GatewayFullError):
            gate.check(other)
    gate.check(bob)
    assert gate.sum == 0
