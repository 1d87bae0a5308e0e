"""Strong data from an endpoint: processor time and memory an example, by task, as the job grows.

    python -m tests.bench.bench_strong [--sizes 1000 10000] [--suite-databases 2]

Real tasks, sandbox children and orchestrator in one process, Redis-compatible server and endpoint (no latency, every
prompt answered by the tests' grammar) in others. CPU is this process's and, apart from it, its sandbox children's.
Memory is this process's resident set at its highest while a task of that kind ran, above what it was at the start.
"""

import argparse
import os
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from shared.logging import configure_logging
from tests.bench.bench_llm import server
from tests.flow import harness
from tests.flow.harness import Stack
from tests.support.valkey import start_valkey

MB = 1 << 20
ME = psutil.Process()


@dataclass
class Spent:
    """What the tasks of one name took."""

    cpu_s: float = 0.0
    children_s: float = 0.0
    wall_s: float = 0.0
    peak: int = 0


@dataclass
class Meter:
    """Wraps tasks; a thread samples memory while one runs."""

    tasks: dict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))
    running: str = ""

    def wrap(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*given: Any) -> Any:
            spent, cpu, wall, below = self.tasks[name], time.process_time(), time.monotonic(), children_s()
            self.running = name
            try:
                return work(*given)
            finally:
                self.running = ""
                spent.cpu_s += time.process_time() - cpu
                spent.wall_s += time.monotonic() - wall
                spent.children_s += max(0.0, children_s() - below)

        return measured

    def sample(self, stop: threading.Event) -> None:
        while not stop.wait(0.05):
            if name := self.running:
                self.tasks[name].peak = max(self.tasks[name].peak, ME.memory_info().rss)


def children_s() -> float:
    """CPU seconds of the sandbox children, living and dead."""
    dead = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = dead.ru_utime + dead.ru_stime
    for child in ME.children(recursive=True):
        try:
            if any(name in " ".join(child.cmdline()) for name in ("openai_server", "valkey")):
                continue
            times = child.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


@contextmanager
def stack(url: str, folder: Path) -> Iterator[Stack]:
    """The flow tests' stack with an endpoint `bench`."""
    with start_valkey(folder / "valkey") as redis:
        environment = {
            "SENSE_REDIS_URL": redis,
            "SENSE_REDIS_PREFIX": "bench:",
            "SENSE_STORE_ROOT": str(folder / "objects"),
            "SENSE_STATE": str(folder / "state"),
            "SENSE_ENDPOINT_BENCH_BASE_URL": url,
            "SENSE_LEASE_SECONDS": "120",
            "SENSE_LOG_LEVEL": "ERROR",
        }
        os.environ.update(environment)
        harness.PATIENCE_S = 7200.0
        yield Stack(environment)


def run(running: Stack, size: int, seed: int, suite_databases: int) -> None:
    """One job of that size, with its table."""
    meter, stop, before = Meter(), threading.Event(), ME.memory_info().rss
    whole = dict(harness.WORK)
    harness.WORK.update({name: meter.wrap(name, work) for name, work in whole.items()})
    threading.Thread(target=meter.sample, args=(stop,), daemon=True).start()
    cpu, began = time.process_time(), time.monotonic()
    strong = {"endpoint": "bench", "model": "test-model", "suite_databases": suite_databases}
    job = running.succeed(
        {"kind": "synthesis", "seed": seed, "strong": strong, "train": {"sft": [{"synthesis": size}]}}
    )
    cpu, wall = time.process_time() - cpu, time.monotonic() - began
    stop.set()
    harness.WORK.update(whole)
    counts = running.counts(job, "write.train") | running.counts(job, "collect.train")
    asked = counts["written"] + counts["unparsed"] + counts["refused"]
    print(f"{size} examples ({asked} asked): {wall:.0f} s, CPU of this process {1000 * cpu / size:.2f} ms an example")
    for name, spent in meter.tasks.items():
        print(
            f"  {name:<26} {1000 * spent.cpu_s / asked:6.2f} ms, children {1000 * spent.children_s / asked:6.2f} ms of "
            f"CPU an example; at most {(spent.peak - before) / MB:6.0f} MB more than at the start",
            flush=True,
        )
    rest = cpu - sum(spent.cpu_s for spent in meter.tasks.values())
    print(f"  {'orchestrator, dispatch':<26} {1000 * rest / asked:6.2f} ms", flush=True)


def main() -> None:
    """Runs every size in one process, smallest first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--suite-databases", type=int, default=0, help="databases that the constant check makes a gold")
    given = parser.parse_args()
    answers = ["--answer", "tests.support.writers:strong_writer"]
    with (
        tempfile.TemporaryDirectory(prefix="sense-bench-") as folder,
        server(*answers) as url,
        stack(url, Path(folder)) as running,
    ):
        configure_logging("bench")
        run(running, 200, 1, given.suite_databases)  # what is loaded once is loaded
        for number, size in enumerate(sorted(given.sizes)):
            run(running, size, number + 2, given.suite_databases)


if __name__ == "__main__":
    main()
