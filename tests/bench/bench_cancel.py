"""What cancelling, retrying and forgetting a job of a million rows costs the caller, and everybody else on that Redis.

    .venv/bin/python -m tests.bench.bench_cancel [ROWS]

A real Valkey with an append-only file. The longest step is the server's own (SLOWLOG): with other work on the
machine it holds that work's turns too, the processor time a step does not. Meanwhile a second client asks
for the time every few milliseconds and says how long it waited at worst.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from services.orchestrator.archive import archive_job
from shared.contracts.base import Queue
from shared.contracts.spec import SynthesisSpec
from shared.jobs.finished import FinishedJobs
from shared.jobs.plan import JobPlan
from shared.jobs.state import ErrorInfo
from shared.jobs.store import JobStore
from shared.storage.directory import DirectoryStore
from tests.support.valkey import start_valkey
from tests.unit.jobs.helpers import open_jobs, writing

ADDED = 10_000


class Bystander:
    """Somebody else on this Redis."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.worst, self.stopped = 0.0, threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self) -> None:
        while not self.stopped.wait(0.002):
            began = time.perf_counter()
            self.client.ping()
            self.worst = max(self.worst, time.perf_counter() - began)

    def __enter__(self) -> "Bystander":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()


def measured(url: str, what: str, work: Callable[[], Any]) -> Any:
    """Runs it and prints what it cost."""
    with redis.Redis.from_url(url, decode_responses=True) as admin:
        admin.config_set("slowlog-log-slower-than", 1000)
        admin.config_set("slowlog-max-len", 100_000)
        admin.slowlog_reset()
        admin.config_resetstat()
        before = cpu_s(admin)
        with Bystander(url) as other:
            began = time.perf_counter()
            answer = work()
            took = time.perf_counter() - began
        steps = sorted(
            ((one["duration"], str(one["command"])[:12]) for one in admin.slowlog_get(100_000)), reverse=True
        )
        slow = sum(took > 50_000 for took, _ in steps)
        longest = f"{steps[0][0] / 1000:.1f} ms ({steps[0][1]})" if steps else "below 1 ms"
        stats = admin.info("commandstats")
        calls = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "unlink"))
        each = f"{(cpu_s(admin) - before) / calls * 1e3:.2f} ms" if calls > 20 else "-"
        memory = admin.info("memory")["used_memory"] / 1e6
    print(
        f"{what:<34} {took:8.3f} s   longest step {longest:<26} another waited {other.worst * 1e3:6.1f} ms   "
        f"processor a step {each:<8} {slow} of {calls} above 50 ms "
        f"{memory:6.0f} MB",
        flush=True,
    )
    return answer


def cpu_s(admin: Any) -> float:
    """The server's processor time so far."""
    found = admin.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def work_off(store: JobStore) -> int:
    """As the orchestrator's passes do; their number."""
    passes = 0
    while store.client.scard(store.key("settling")) or store.client.scard(store.key("leaving")):
        store.work_off()
        passes += 1
    return passes


def main(rows: int) -> None:
    """Prints a line an operation."""
    with tempfile.TemporaryDirectory() as folder, start_valkey(Path(folder) / "valkey", append_only=True) as url:
        store, objects = open_jobs(url), DirectoryStore(Path(folder) / "objects")
        job = store.submit(SynthesisSpec(kind="synthesis"))[0]
        store.set_plan(job, JobPlan(stages=[writing(1)]))

        def add() -> None:
            for first in range(0, rows, ADDED):
                store.add_shards(job, "write", {n: {"count": 2} for n in range(first, min(first + ADDED, rows))})

        measured(url, f"add {rows:,} rows", add)
        measured(url, "take 64", lambda: store.take(Queue.SYNTHESIS, 64))
        measured(url, "cancel, to the caller", lambda: store.cancel(job))
        passes = measured(url, "rows settled, by the orchestrator", lambda: work_off(store))
        print(f"  in {passes} passes of at most 0.2 s")
        measured(url, "end", lambda: store.end(job, "cancelled"))
        measured(url, "retry, to the caller", lambda: store.retry(job))
        measured(url, "take 64 of them meanwhile", lambda: store.take(Queue.SYNTHESIS, 64))
        measured(url, "rows queued, by the orchestrator", lambda: work_off(store))
        measured(url, "fail", lambda: store.end(job, "failed", ErrorInfo(code="x", message="no")))
        measured(url, "rows settled, by the orchestrator", lambda: work_off(store))
        seen = store.stale()[job]
        measured(url, "archive", lambda: archive_job(store, objects, job, store.plan(job)))
        store.archived(job, seen)
        ended = next(FinishedJobs(store).all())
        measured(url, "forget, to the caller", lambda: FinishedJobs(store).forget(ended))
        measured(url, "rows removed, by the orchestrator", lambda: work_off(store))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
