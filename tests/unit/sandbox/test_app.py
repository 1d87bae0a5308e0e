"""The sandbox over HTTP: answers, refusals, bounds, and an end without orphans."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.s3_server import free_ports
from tests.support.sandbox import ENDLESS, Sandbox, make_database, module_sandbox, serve_sandbox

__all__ = ["module_sandbox"]
PATIENCE_S = 30.0


@pytest.fixture
def http(module_sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=module_sandbox.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def shop(http: httpx.Client, tmp_path: Path) -> str:
    """The id of a stored database."""
    answer = http.post("/databases?name=shop", content=make_database(tmp_path / "shop.sqlite"))
    return str(answer.json()["id"])


def ask(http: httpx.Client, database_id: str, sql: str, **more: object) -> httpx.Response:
    return http.post("/execute", json={"database_id": database_id, "sql": sql, **more})


def test_sql_runs_on_a_stored_database(http: httpx.Client, shop: str) -> None:
    answer = ask(http, shop, "SELECT name FROM customer ORDER BY id", max_rows=2)
    found = answer.json()
    assert (answer.status_code, found.pop("elapsed_ms") >= 0) == (200, True)
    assert found == {
        "object": "execution",
        "outcome": "ok",
        "rows": [["Ada"], ["Bob"]],
        "columns": ["name"],
        "row_count": 3,
        "truncated": True,
        "message": None,
    }


@pytest.mark.parametrize(
    ("sql", "outcome"),
    [
        ("SELECT 1 WHERE 0", "empty"),
        ("SELEC 1", "syntax_error"),
        ("SELECT 1\0", "syntax_error"),
        ("", "syntax_error"),
        ("DELETE FROM customer", "not_authorized"),
        ("SELECT count(*) FROM big", "ok"),
        (ENDLESS, "timeout"),
        ("SELECT '" + "x" * 200_000 + "'", "byte_limit"),
    ],
)
def test_sql_that_fails_is_an_answer(http: httpx.Client, shop: str, sql: str, outcome: str) -> None:
    answer = ask(http, shop, sql, deadline_s=0.4)
    assert (answer.status_code, answer.json()["outcome"]) == (200, outcome)


BAD: list[tuple[bytes, int, str]] = [
    (b"", 422, "invalid_input"),
    (b"no json", 422, "invalid_input"),
    (b"[]", 422, "invalid_input"),
    (b'{"database_id": "%s"}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": 1}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "\\ud800"}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "SELECT 1", "other": 1}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "SELECT 1", "deadline_s": 0}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "SELECT 1", "deadline_s": NaN}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "SELECT 1", "deadline_s": "Infinity"}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "SELECT 1", "deadline_s": 5.1}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "SELECT 1", "max_rows": -1}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "SELECT 1", "max_rows": 201}', 422, "invalid_input"),
    (b'{"database_id": "%s", "sql": "' + b"x" * 10_000_000 + b'"}', 413, "body_too_large"),
    (b'{"database_id": "absent", "sql": "SELECT 1"}', 404, "database_not_found"),
    (b'{"database_id": "../../etc/passwd", "sql": "SELECT 1"}', 404, "database_not_found"),
    (b'{"database_id": "' + b"0" * 64 + b'", "sql": "SELECT 1"}', 404, "database_not_found"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD, ids=range(len(BAD)))
def test_bad_requests_are_refused(http: httpx.Client, shop: str, body: bytes, status: int, code: str) -> None:
    body = body.replace(b"%s", shop.encode())
    answer = http.post("/execute", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]


def test_a_file_is_taken_once(http: httpx.Client, module_sandbox: Sandbox, tmp_path: Path) -> None:
    data = make_database(tmp_path / "a.sqlite", "CREATE TABLE once(a);")
    answers = [http.post("/databases", params={"name": name}, content=data) for name in ("one", "two")]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["name"] == "one"
    assert module_sandbox.received() == []


def test_bad_files_are_refused_and_leave_nothing(http: httpx.Client, module_sandbox: Sandbox, tmp_path: Path) -> None:
    before = list(module_sandbox.objects.list(""))
    large = make_database(tmp_path / "large.sqlite", "CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(3000000));")
    cases: list[tuple[bytes, int, str]] = [
        (b"", 422, "invalid_database"),
        (b"hello", 422, "invalid_database"),
        (large, 413, "body_too_large"),
        (large[:1_000_000], 422, "invalid_database"),
    ]
    for data, status, code in cases:
        whole = http.post("/databases", content=data)
        chunked = http.post("/databases", content=iter([data[:10], data[10:]]))
        for answer in (whole, chunked):
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
            assert str(tmp_path) not in answer.text
    assert http.post("/databases", params={"name": "x" * 101}, content=b"").json()["code"] == "invalid_request"
    assert list(module_sandbox.objects.list("")) == before
    assert module_sandbox.received() == []


@pytest.mark.parametrize("head", ["Content-Length: 8192", "Transfer-Encoding: chunked"])
def test_an_upload_that_is_cut_off_leaves_nothing(module_sandbox: Sandbox, tmp_path: Path, head: str) -> None:
    before = list(module_sandbox.objects.list(""))
    part = make_database(tmp_path / "cut.sqlite", "CREATE TABLE cut(a);")[:4096]
    body = b"1000\r\n" + part + b"\r\n" if "chunked" in head else part
    host, port = "127.0.0.1", int(module_sandbox.url.rpartition(":")[2])
    with socket.create_connection((host, port), timeout=10) as raw:
        raw.sendall(f"POST /databases HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n\r\n".encode() + body)
        wait_for(lambda: module_sandbox.received() != [])
    wait_for(lambda: module_sandbox.received() == [])
    assert list(module_sandbox.objects.list("")) == before


def test_a_sender_who_falls_silent_holds_no_slot(module_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.sandbox.app.IDLE_S", 0.2)
    port = int(module_sandbox.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"POST /databases HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8192\r\n\r\nSQLite")
        answer = b""
        while b"}" not in answer and (part := raw.recv(10_000)):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ") and b"upload_stalled" in answer
    assert module_sandbox.received() == []


def wait_for(condition: "object") -> None:
    assert callable(condition)
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_busy_slots_refuse_and_do_not_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "state"))
    with (
        serve_sandbox(tmp_path, http_children=1, wait_s=0.2, waiting=1, max_deadline_s=4.0) as sandbox,
        httpx.Client(base_url=sandbox.url, timeout=30, trust_env=False) as http,
        ThreadPoolExecutor(8) as threads,
    ):
        shop = http.post("/databases", content=make_database(tmp_path / "shop.sqlite")).json()["id"]
        long = threads.submit(ask, http, shop, ENDLESS, deadline_s=2.0)
        time.sleep(0.3)
        answers = list(threads.map(lambda _: ask(http, shop, "SELECT 1"), range(5)))
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} == {"sandbox_busy"}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert sum("wait already" in answer.json()["detail"] for answer in answers) == 4
        assert long.result().json()["outcome"] == "timeout"
        assert ask(http, shop, "SELECT 1").json()["outcome"] == "ok"


def test_health_and_metrics(http: httpx.Client, shop: str) -> None:
    assert http.get("/healthz").json()["status"] == http.get("/readyz").json()["status"] == "ok"
    ask(http, shop, "SELEC")
    assert 'sense_sandbox_outcomes_total{outcome="syntax_error"}' in http.get("/metrics").text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_without_orphans(tmp_path: Path, number: signal.Signals) -> None:
    port = free_ports(1)[0]
    environment = {**os.environ, "SENSE_STATE": str(tmp_path / "state"), "SENSE_STORE_ROOT": str(tmp_path / "objects")}
    command = [sys.executable, "-m", "services.sandbox", "--port", str(port)]
    with (
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http,
    ):
        try:
            wait_for(lambda: ready(http))
            shop = http.post("/databases", content=make_database(tmp_path / "shop.sqlite")).json()["id"]
            answers: list[str] = []
            caller = threading.Thread(target=call, args=(port, shop, answers))
            caller.start()
            running = psutil.Process(process.pid)
            wait_for(lambda: any(one.cpu_times().user > 0.4 for one in running.children()))
            children = running.children(recursive=True)
            process.send_signal(number)
            _, log = process.communicate(timeout=PATIENCE_S)
            caller.join(PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode in (0, -number)
    assert "Traceback" not in log, log
    _, alive = psutil.wait_procs(children, timeout=10)
    assert (len(children) > 0, alive) == (True, [])
    assert answers[0] in ("sandbox_stopping", "lost")
    assert not list((tmp_path / "state" / "cache" / "incoming").glob("*.part"))


def ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def call(port: int, database_id: str, answers: list[str]) -> None:
    """A query that would run for longer than the process may take to end."""
    body = {"database_id": database_id, "sql": ENDLESS, "deadline_s": 25.0}
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/execute", json=body, timeout=40, trust_env=False)
        answers.append(str(json.loads(answer.content)["code"]))
    except httpx.HTTPError:
        answers.append("lost")
