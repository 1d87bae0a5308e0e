"""How long /healthz takes while the worst bodies arrive that the gateway takes in; a real process, a real Valkey.

    python -m tests.bench.bench_poison [--seconds 4]

A process of its own asks /healthz up to a hundred times a second, first with nothing beside it, then with each kind of
body sent by two callers one after the other. Two times are told: by the clock, which the machine's other work makes
longer, and how much processor time the gateway used between question and answer. On a machine with a free core the
second one is what the clock would say.
"""

import argparse
import http.client
import http.server
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench.bench_gateway import gateway_process, percentile
from tests.support.s3_server import free_ports
from tests.support.valkey import start_valkey

RATE = 100
CALLERS = 2
SPEC, MEGABYTE = 255_000, 990_000
LARGE_ROWS = 10_000


def times(unit: str, size: int) -> str:
    """About so many characters."""
    return unit * (size // len(unit))


def wide(value: str, size: int) -> bytes:
    """An object of many fields that no request has."""
    return ("{" + ",".join(f'"field{n}":{value}' for n in range(size // (len(value) + 14))) + "}").encode()


def evaluation(model: str, size: int) -> bytes:
    """A spec with many models that are none."""
    return ('{"kind":"evaluation","models":[' + times(f"{model},", size) + model + "]}").encode()


Body = tuple[str, str, bytes]
YAML, JSON, LINES = "application/yaml", "application/json", "application/x-ndjson"
EXAMPLE = json.dumps({"example_id": "a", "question": 1, "wrong": [1] * 50})
BODIES: dict[str, Body] = {
    "yaml list": ("/v1/specs/check", YAML, times("- a\n", MEGABYTE).encode()),
    "yaml models": ("/v1/jobs", YAML, ("kind: evaluation\nmodels:\n" + times("- {a: 1}\n", SPEC)).encode()),
    "yaml at its bound": ("/v1/jobs", YAML, ("kind: evaluation\nmodels:\n" + times("- {a: 1}\n", 13_000)).encode()),
    "yaml flow": ("/v1/jobs", YAML, ("a: [" + times("1,", SPEC) + "1]").encode()),
    "yaml depth": ("/v1/jobs", YAML, times("[", MEGABYTE).encode()),
    "yaml aliases": ("/v1/jobs", YAML, ("a: &a [1]\nb: [" + times("*a, ", SPEC) + "1]").encode()),
    "json wrong models": ("/v1/jobs", JSON, evaluation('{"a":1}', MEGABYTE)),
    "json at its bound": ("/v1/jobs", JSON, evaluation('{"a":1}', 11_800)),
    "json wrong numbers": ("/v1/jobs", JSON, evaluation("1", 5_900)),
    "json lists": ("/v1/specs/check", JSON, ('{"kind":[' + times("[],", MEGABYTE) + "[]]}").encode()),
    "json depth": ("/v1/jobs", JSON, times('{"a":', MEGABYTE).encode()),
    "execute, wrong fields": ("/v1/execute", JSON, wide("1", MEGABYTE)),
    "execute, long SQL": ("/v1/execute", JSON, json.dumps({"database_id": "a", "sql": times("(", MEGABYTE)}).encode()),
    "execute, large result": ("/v1/execute", JSON, json.dumps({"database_id": "a", "sql": "SELECT 1"}).encode()),
    "sql, DDL in a dialect": (
        "/v1/sql",
        JSON,
        json.dumps({"question": "q", "ddl": times("STRUCT(", MEGABYTE), "dialect": "duckdb"}).encode(),
    ),
    "keys, wrong fields": ("/v1/keys", JSON, wide("[]", MEGABYTE)),
    "dataset, wrong lines": ("/v1/datasets", LINES, times(EXAMPLE + "\n", MEGABYTE).encode()),
    "dataset, one line": ("/v1/datasets", LINES, b'{"name":[' + times("1,", MEGABYTE).encode() + b"1]}\n"),
    "chat": ("/v1/chat/completions", JSON, wide("{}", MEGABYTE)),
    "query string": ("/v1/jobs?" + times("kind=A&", 50_000), JSON, b"{}"),
}


class Upstream(http.server.BaseHTTPRequestHandler):
    """Stands where sandbox, serving service and engine do: reads, and answers at once with a large result."""

    protocol_version = "HTTP/1.1"
    answer = json.dumps(
        {
            "outcome": "ok",
            "columns": [f"c{n}" for n in range(20)],
            "rows": [[f"{n} {m}" for n in range(20)] for m in range(LARGE_ROWS)],
            "row_count": LARGE_ROWS,
            "truncated": False,
            "message": None,
            "elapsed_ms": 1.0,
        }
    ).encode()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def serve_upstream(port: int) -> None:
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Upstream).serve_forever()


Times = list[tuple[float, float]]


def probe(url: str, pid: int, seconds: float, out: Any) -> None:
    """By the clock, and in the gateway's processor time."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
    processor = (~pid << 3) | 2  # clock_getcpuclockid(3) of another process
    took: Times = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        begin, used = time.monotonic(), time.clock_gettime(processor)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        took.append((time.monotonic() - begin, time.clock_gettime(processor) - used))
        time.sleep(max(0.0, begin + 1 / RATE - time.monotonic()))
    out.put(took)


def send(url: str, body: Body, until: Callable[[], bool], said: list[tuple[int, int, float]]) -> None:
    """One caller."""
    place = urlsplit(url)
    path, kind, content = body
    while not until():
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=300)
        begin = time.monotonic()
        try:
            connection.request("POST", path, content, {"Content-Type": kind, "Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            said.append((answer.status, len(answer.read()), time.monotonic() - begin))
        except OSError:
            said.append((0, 0, time.monotonic() - begin))
        finally:
            connection.close()


def measure(url: str, pid: int, body: Body | None, seconds: float) -> tuple[Times, list[tuple[int, int, float]]]:
    """Times of /healthz, and what the callers were answered: status, bytes, seconds."""
    out: Any = multiprocessing.Queue()
    prober = multiprocessing.Process(target=probe, args=(url, pid, seconds, out))
    said: list[tuple[int, int, float]] = []
    done = threading.Event()
    callers = [
        threading.Thread(target=send, args=(url, body, done.is_set, said)) for _ in range(CALLERS if body else 0)
    ]
    prober.start()
    for caller in callers:
        caller.start()
    took = out.get()
    done.set()
    prober.join()
    for caller in callers:
        caller.join()
    return took, said


def said_times(took: Times) -> str:
    """Both kinds, in milliseconds."""
    clock, used = [[1000 * one for one in kind] for kind in zip(*took, strict=True)]
    return (
        f"p50 {percentile(clock, 0.5):.1f} p99 {percentile(clock, 0.99):.1f} ms by the clock, "
        f"p50 {percentile(used, 0.5):.1f} p99 {percentile(used, 0.99):.1f} max {max(used):.1f} ms of processor"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default="", help="kinds of bodies whose name holds this")
    chosen = parser.parse_args()
    port = free_ports(1)[0]
    upstream = multiprocessing.Process(target=serve_upstream, args=(port,), daemon=True)
    upstream.start()
    for name in ("SANDBOX", "SERVING", "ENGINE"):
        os.environ[f"SENSE_{name}_URL"] = f"http://127.0.0.1:{port}"
    everything: Times = []
    with (
        tempfile.TemporaryDirectory() as folder,
        start_valkey(Path(folder) / "valkey") as redis_url,
        gateway_process(redis_url, Path(folder) / "store") as (url, pid),
    ):
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for name, body in [("idle", None), *((name, body) for name, body in BODIES.items() if chosen.only in name)]:
            took, said = measure(url, pid, body, chosen.seconds)
            everything += took if body else []
            statuses = sorted({status for status, _, _ in said})
            largest = max((size for _, size, _ in said), default=0)
            print(
                f"{name}: healthz {said_times(took)}; {len(said)} bodies, answers {statuses}, at most {largest} bytes",
                flush=True,
            )
        print(f"all bodies: healthz {said_times(everything)}; load {os.getloadavg()[0]:.1f}")
    upstream.terminate()


if __name__ == "__main__":
    main()
