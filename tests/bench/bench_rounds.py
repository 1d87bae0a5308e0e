"""How long a round of the orchestrator takes while many jobs are queued, and what a POST costs meanwhile.

Real: Valkey with its append-only file, the gateway over HTTP, the three loops of the orchestrator on their threads as
in its process. Nobody works on anything: jobs pile up. `--large` adds one evaluation as large as a spec may be.

    python -m tests.bench.bench_rounds [--jobs 10000] [--seconds 20] [--large]
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from services.orchestrator import app as orchestrator_app
from services.orchestrator import loop
from shared.contracts.spec import MAX_MODEL_TEST_PAIRS, MAX_MODELS
from shared.logging import configure_logging
from tests.support.gateway import make_backend, serve
from tests.support.valkey import start_valkey

SPEC = {"kind": "synthesis", "name": "waiting"}
LARGE = {
    "kind": "evaluation",
    "models": [f"m{n}" for n in range(MAX_MODELS - 4)],
    "evaluate": [{"dataset": "builtin:held-out"}] * (MAX_MODEL_TEST_PAIRS // (MAX_MODELS - 4)),
}


def orchestrate(environment: dict[str, str], told: Connection) -> None:
    """The process's own loops, which hardly wait where there is nothing to do; the seconds of every round are noted."""
    os.environ |= environment
    loop.BLOCK_MS, orchestrator_app.IDLE_S = 1, 0.005
    configure_logging("bench")
    process = orchestrator_app.build()
    rounds: dict[str, list[float]] = {}
    plain = process.repeat

    def repeat(name: str, part: Callable[[], None]) -> None:
        def timed() -> None:
            began = time.monotonic()
            part()
            rounds.setdefault(name, []).append(time.monotonic() - began)

        plain(name, timed)

    process.repeat = repeat  # type: ignore[method-assign]
    threading.Thread(target=process.run, daemon=True).start()
    while told.recv() == "rounds":
        told.send({name: found[:] for name, found in rounds.items()})
        rounds.clear()
    process.stop.set()


def show(name: str, seconds: list[float]) -> None:
    """Median, p99 and the longest, in milliseconds."""
    if len(seconds) > 1:
        p99 = statistics.quantiles(seconds, n=100, method="inclusive")[98]
        figures = (
            f"median {1000 * statistics.median(seconds):8.1f}  p99 {1000 * p99:8.1f}  max {1000 * max(seconds):8.1f}"
        )
        print(f"{name:<40} {len(seconds):>6}  {figures} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    os.environ["SENSE_LOG_LEVEL"] = "ERROR"
    configure_logging("bench")
    with tempfile.TemporaryDirectory(prefix="sense-bench-") as name, start_valkey(Path(name), append_only=True) as url:
        backend = make_backend(url, Path(name) / "objects")
        environment = {
            "SENSE_REDIS_URL": url,
            "SENSE_REDIS_PREFIX": backend.jobs.prefix,
            "SENSE_STORE_ROOT": str(Path(name) / "objects"),
        }
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("spawn").Process(target=orchestrate, args=(environment, there), daemon=True)
        child.start()
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        try:
            with serve(backend) as address, httpx.Client(base_url=address, timeout=60) as client:
                if arguments.large:
                    assert client.post("/v1/jobs", json=LARGE).status_code == 202
                posts = []
                for _ in range(arguments.jobs):
                    began = time.monotonic()
                    assert client.post("/v1/jobs", json=SPEC).status_code == 202
                    posts.append(time.monotonic() - began)
                    if len(posts) % max(1, arguments.jobs // 4) == 0:
                        show(f"POST, up to {len(posts)} jobs", posts[-arguments.jobs // 4 :])
                here.send("rounds")
                for loop, seconds in here.recv().items():
                    show(f"{loop} rounds, while jobs came", seconds)
                time.sleep(arguments.seconds)
                here.send("rounds")
                for loop, seconds in here.recv().items():
                    show(f"{loop} rounds, {len(backend.jobs.active())} jobs", seconds)
            here.send("end")
        finally:
            child.kill()


if __name__ == "__main__":
    main()
