"""Every internal HTTP service as its own process: what pages of other sites, other names and strangers get. Nothing."""

import base64
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.app import create_app
from services.serving.engine_client import EngineClient
from shared.errors import UnavailableError
from shared.settings import SandboxSettings
from tests.support.gateway import make_backend
from tests.support.s3_server import free_ports
from tests.support.valkey import module_redis_url

__all__ = ["module_redis_url"]
TOKEN = "a-token-of-the-services-0123456789"
FLOWER = "sense:a-password-of-flower"
PATIENCE_S = 60.0
REQUESTS = int(os.environ.get("SENSE_FUZZ_REQUESTS", "600"))
SEED = int(os.environ.get("SENSE_FUZZ_SEED", "17"))
JSON = "Content-Type: application/json"
AGAINST_PAGES = (
    ("Host: attacker.example", "another name"),
    ("Host: 127.0.0.1.attacker.example:8101", "a name that begins like an address"),
    ("Host: localhost.attacker.example", "a name that begins like ours"),
    ("Host: 0.0.0.0:8101", "the address that is nobody's"),
    ("Origin: https://attacker.example", "another origin"),
    ("Origin: null", "a sandboxed page"),
    ("Origin: http://127.0.0.1:1", "a page of another port"),
    ("Sec-Fetch-Site: cross-site", "another site"),
    ("Sec-Fetch-Site: same-site", "another port of this machine"),
)


@dataclass(frozen=True)
class Kind:
    """How a service is started, what it answers without a token, and what it does for those who may."""

    command: tuple[str, ...]
    health: str
    reads: str
    acts: str | None = None

    def line(self, port: int, state: Path) -> list[str]:
        return [sys.executable, "-m", *(part.format(port=port, state=state) for part in self.command)]


KINDS = {
    "engine": Kind(
        ("services.serving.embedded", "--port", "{port}", "--state", "{state}"),
        "/health",
        "/v1/models",
        "/admin/release",
    ),
    "vllm": Kind(
        ("services.serving.vllm", "--port", "{port}", "--state", "{state}"), "/health", "/v1/models", "/v1/completions"
    ),
    "sandbox": Kind(("services.sandbox", "--port", "{port}"), "/healthz", "/metrics", "/execute"),
    "serving": Kind(("services.serving", "--port", "{port}"), "/healthz", "/metrics", "/sql"),
    "metrics": Kind((), "", "/metrics"),
    "flower": Kind(("shared.tasks.flower", "--address=127.0.0.1", "--port={port}"), "/healthcheck", "/workers?json=1"),
}
SERVICES = ("engine", "vllm", "sandbox", "serving")


def send(port: int, request: bytes) -> bytes:
    """The whole answer to these bytes; empty where the server only closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as raw:
        raw.sendall(request)
        answer = b""
        try:
            while part := raw.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def ask(port: int, method: str, path: str, *headers: str, body: str = "") -> int:
    """The status of a request with these headers, Host among them where it is not this machine's."""
    lines = [f"{method} {path} HTTP/1.1", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    if not any(header.startswith("Host:") for header in headers):
        lines.append(f"Host: 127.0.0.1:{port}")
    return int(send(port, "\r\n".join([*lines, "", body]).encode("latin-1")).split(b" ", 2)[1])


@contextmanager
def running(redis_url: str, root: Path, **more: str) -> Iterator[dict[str, int]]:
    """All services, and the port of each; `metrics` is a port of the sandbox's process."""
    ports = dict(zip(KINDS, free_ports(len(KINDS)), strict=True))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SENSE_", "FLOWER_"))}
    environment |= {"SENSE_STATE": str(root), "SENSE_STORE_ROOT": str(root / "objects"), "SENSE_REDIS_URL": redis_url}
    environment |= {"SENSE_VLLM_URL": "http://127.0.0.1:9", "SENSE_ENGINE_URL": "http://127.0.0.1:9", **more}
    processes = []
    try:
        for name, kind in KINDS.items():
            if kind.command:
                (root / name).mkdir(parents=True)
                own = {"SENSE_METRICS_PORT": str(ports["metrics"])} if name == "sandbox" else {}
                with (root / f"{name}.log").open("wb") as log:
                    line = kind.line(ports[name], root / name)
                    processes.append(subprocess.Popen(line, env=environment | own, stdout=log, stderr=log))
        ends = time.monotonic() + PATIENCE_S
        for name, port in ports.items():
            while not answers(port):
                assert time.monotonic() < ends, f"{name} does not start"
                time.sleep(0.05)
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def by_hand(module_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    with running(module_redis_url, tmp_path_factory.mktemp("by-hand")) as ports:
        yield ports


@pytest.fixture(scope="module")
def in_a_stack(module_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    root = tmp_path_factory.mktemp("stack")
    with running(module_redis_url, root, SENSE_INTERNAL_TOKEN=TOKEN, FLOWER_BASIC_AUTH=FLOWER) as ports:
        yield ports


def credentials(name: str) -> str:
    if name == "flower":
        return "Authorization: Basic " + base64.b64encode(FLOWER.encode()).decode()
    return f"Authorization: Bearer {TOKEN}"


@pytest.mark.parametrize("name", KINDS)
def test_without_a_token_only_programs_of_this_machine_are_answered(by_hand: dict[str, int], name: str) -> None:
    port, kind = by_hand[name], KINDS[name]
    assert ask(port, "GET", kind.reads) == 200
    assert ask(port, "GET", kind.reads, f"Host: localhost:{port}") == 200
    for header, who in AGAINST_PAGES:
        assert ask(port, "GET", kind.reads, header) == 403, who
        if kind.health:
            assert ask(port, "GET", kind.health, header) == 403, who
        if kind.acts:
            assert ask(port, "POST", kind.acts, header, JSON, body="{}") == 403, who
    assert ask(port, "GET", kind.reads, f"Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-origin") == 200


@pytest.mark.parametrize("name", KINDS)
def test_with_a_token_nobody_else_is_answered(in_a_stack: dict[str, int], name: str) -> None:
    port, kind, own = in_a_stack[name], KINDS[name], credentials(name)
    assert ask(port, "GET", kind.reads, own) == 200
    for wrong in (
        "X: 1",
        "Authorization: Bearer wrong",
        "Authorization: Bearer",
        "Authorization: Basic c2Vuc2U6eA==",
        "Authorization: \xff",
    ):
        assert ask(port, "GET", kind.reads, wrong) == 401, wrong
        if kind.acts:
            assert ask(port, "POST", kind.acts, wrong, JSON, body="{}") == 401, wrong
    for header, who in AGAINST_PAGES:
        if not header.startswith("Host"):
            assert ask(port, "GET", kind.reads, own, header) == 403, who  # a browser may know Flower's password
    if kind.health:
        assert ask(port, "GET", kind.health) == 200  # a container's probe
        assert ask(port, "GET", kind.health, "Host: 10.42.0.7:8101") == 200  # and a cluster's
        assert ask(port, "GET", kind.health, "Host: attacker.example") == 403
        assert ask(port, "GET", f"{kind.health}/..{kind.reads}") in (401, 404)
    if name != "flower":
        assert ask(port, "GET", kind.reads, own, f"Host: {name}-http:{port}") == 200  # as other containers call it


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
@pytest.mark.parametrize("name", SERVICES)
def test_what_a_page_can_send_without_asking_is_no_json(by_hand: dict[str, int], name: str, kind: str) -> None:
    acts = KINDS[name].acts or ""
    typed = [f"Content-Type: {kind}"] if kind else []
    assert ask(by_hand[name], "POST", acts, *typed, body='{"sql": "SELECT 1"}') == 415
    assert ask(by_hand[name], "POST", acts, "Content-Type: Application/JSON; charset=utf-8", body="{") != 415


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_opens_to_other_machines_without_a_token(name: str, tmp_path: Path) -> None:
    line = [*KINDS[name].line(free_ports(1)[0], tmp_path), "--host", "0.0.0.0"]
    environment = {**os.environ, "SENSE_STORE_ROOT": str(tmp_path), "SENSE_VLLM_URL": "http://127.0.0.1:9"}
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2
    assert "set SENSE_INTERNAL_TOKEN" in ended.stderr and "Traceback" not in ended.stderr


def test_nor_does_a_metrics_port(tmp_path: Path) -> None:
    environment = {**os.environ, "SENSE_METRICS_PORT": str(free_ports(1)[0]), "SENSE_METRICS_HOST": "0.0.0.0"}
    line = [sys.executable, "-c", "import shared.metrics as m; m.expose_metrics()"]
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode != 0 and "set SENSE_INTERNAL_TOKEN" in ended.stderr


def test_a_page_revokes_nothing_in_flower(in_a_stack: dict[str, int]) -> None:
    """Its password is a browser's to send, with whatever page asks."""
    port, own = in_a_stack["flower"], credentials("flower")
    path = "/api/task/revoke/0b0e6d1c-0000-4000-8000-000000000000"
    assert ask(port, "POST", path, own, "Origin: https://attacker.example", "Content-Type: text/plain") == 403
    assert ask(port, "POST", path, "Content-Type: text/plain") == 401


def test_our_own_callers_show_the_token(
    in_a_stack: dict[str, int], module_redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway to all three, a worker to the engine; with another token the message says what to look at."""
    url = {name: f"http://127.0.0.1:{port}" for name, port in in_a_stack.items()}
    database = {"database_id": "0" * 64}
    for token, known in ((TOKEN, True), ("another", False)):
        monkeypatch.setenv("SENSE_INTERNAL_TOKEN", token)
        backend = make_backend(
            module_redis_url,
            tmp_path / "objects",
            engine_url=url["engine"],
            sandbox=SandboxSettings(url=url["sandbox"]),
            serving_url=url["serving"],
        )
        with TestClient(create_app(backend), raise_server_exceptions=False) as api:
            told = [
                api.get("/v1/models"),
                api.post("/v1/execute", json={**database, "sql": "SELECT 1"}),
                api.post("/v1/sql", json={**database, "question": "how many?", "model": "m"}),
            ]
        for answer, service in zip(told, ("engine", "sandbox", "serving"), strict=True):
            refused = answer.status_code == 503 and answer.json()["code"] == f"{service}_unavailable"
            named = "SENSE_INTERNAL_TOKEN" in answer.text
            assert (named and refused) is not known, (service, answer.text)
        engine = EngineClient(url["engine"])
        if known:
            assert engine.models() == []
            engine.release()
        else:
            with pytest.raises(UnavailableError, match="SENSE_INTERNAL_TOKEN"):
                engine.models()
        engine.close()


ODD = (
    *(
        b"[::1",
        b"[",
        b"]",
        b"::1",
        b"[::1]:x",
        b"[v1.x]:1",
        b"localhost:99999999",
        b"localhost:-1",
        b"a:b:c",
        b":80",
        b"",
    ),
    *(b"\xff\xfe", b"\xc3\xa9.example", b"x" * 5000, b"http://[", b"http://", b"//", b"null", b"@", b"a@127.0.0.1"),
    *(b"127.0.0.1 attacker.example", b"127.0.0.1,localhost", b"%31", b"127.1", b"0x7f.1", b"[::ffff:127.0.0.1]", b"\t"),
)
PATHS = (
    b"/%ff",
    b"/%00",
    b"/%0a",
    b"//",
    b"/\xff",
    b"/%",
    b"/?\xff",
    b"/;",
    b"*",
    b"/" + b"%c0%af" * 50,
    b"http://[::1/x",
)


def odd_request(chance: random.Random, name: str, port: int) -> bytes:
    """A request that has one or more parts which no client would send, and is right in the others."""
    kind = KINDS[name]
    path = chance.choice([path.encode() for path in (kind.health, kind.reads, kind.acts or "") if path])
    if chance.random() < 0.3:
        path = path + chance.choice(PATHS) if chance.random() < 0.5 else chance.choice(PATHS)
    method = chance.choice((b"GET", b"POST", b"DELETE", b"PUT", b"HEAD", b"OPTIONS", b"get", b"TRACE"))
    right = {
        **{b"Host": f"127.0.0.1:{port}".encode(), b"Authorization": credentials(name)[15:].encode()},
        **{b"Content-Type": b"application/json", b"Content-Length": b"2"},
    }
    lines = [method + b" " + path + b" HTTP/1.1", b"Connection: close"]
    for header in (*right, b"Origin", b"Sec-Fetch-Site"):
        if chance.random() < 0.2:
            odd = chance.choice((*ODD, chance.randbytes(9).translate(None, b"\r\n\0")))
            lines.append(header + b": " + odd)
        elif header in right:
            lines.append(header + b": " + right[header])
    return b"\r\n".join([*lines, b"", b"{}"])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("closed", [False, True], ids=["without a token", "with a token"])
def test_fuzz_odd_headers_and_paths_break_nothing(
    by_hand: dict[str, int], in_a_stack: dict[str, int], name: str, closed: bool
) -> None:
    port, chance = (in_a_stack if closed else by_hand)[name], random.Random(SEED)
    seen = set()
    for number in range(max(20, REQUESTS // (2 * len(KINDS)))):
        request = odd_request(chance, name, port)
        answer = send(port, request)
        status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
        seen.add(status)
        assert status < 500 or status == 501, f"request {number} of seed {SEED}: {request!r} gave {answer[:300]!r}"
    assert {200, 400, 403} <= seen, seen
    assert ask(port, "GET", KINDS[name].reads, credentials(name)) == 200
