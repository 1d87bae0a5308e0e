"""`make soak JOBS=2000`: many small jobs, and how memory, file handles and Redis grow with them.

Real: Valkey with an append-only file, the Orchestrator with Dispatcher, archive and retention in this process, Celery's
Redis transport, a directory store; workers that claim and finish without work, as in `tests.bench.bench_orchestrator`.
Retention keeps nothing that is over, so whatever still grows is a leak. Slopes are by least squares over all but the
first quarter, in which caches fill.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil
import redis

from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.loop import Orchestrator
from services.orchestrator.retention import Retention
from services.orchestrator.settings import RetentionSettings
from shared.contracts.spec import SynthesisSpec
from shared.jobs.events import EventReader
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.logging import configure_logging
from shared.redis import connect_redis
from shared.settings import RedisSettings
from shared.storage.directory import DirectoryStore
from shared.tasks.app import make_app
from tests.bench.bench_orchestrator import QUEUES, SLOTS, two_stages, worker
from tests.support.valkey import start_valkey

SHARDS = 10
BATCH = 20
Sample = dict[str, float]


class Soak:
    """One orchestrator, and batches of jobs through it."""

    def __init__(self, url: str, folder: Path) -> None:
        settings = RedisSettings()
        self.raw = redis.Redis.from_url(url, decode_responses=True)
        self.store = JobStore(connect_redis(settings), settings.prefix)
        self.board = WorkerRegistry(self.store.client, settings.prefix)
        facts = EventReader(self.store.client, settings.prefix, "soak")
        facts.open()
        self.objects = DirectoryStore(folder)
        dispatcher = Dispatcher(self.store, self.board, make_app())
        self.loop = Orchestrator(self.store, self.objects, facts, dispatcher)
        at_once = dict.fromkeys(("rows_days", "orphans_days", "checkpoints_days", "events_days"), 0.0)
        self.retention = Retention(self.store, self.objects, RetentionSettings.model_validate(at_once))

    def batch(self) -> None:
        """Some jobs to their end, and out of Redis."""
        for queue in QUEUES:
            self.board.beat(queue, "soak", SLOTS)
        for _ in range(BATCH):
            job, _ = self.store.submit(SynthesisSpec(kind="synthesis"))
            self.store.set_plan(job, two_stages(SHARDS))
        while self.store.active():
            self.loop.step()
        self.loop.archiver.archive_stale(slice_s=60)
        gone = [one for one in self.retention.run(now=time.time() + 60) if one.kind == "rows"]
        assert len(gone) == BATCH, f"{len(gone)} of {BATCH} jobs left"

    def sample(self, jobs: int, workers: list[psutil.Process]) -> Sample:
        """What may grow."""
        own, memory = psutil.Process(), self.raw.info("memory")
        return {
            "jobs": jobs,
            "orchestrator RSS, KiB": own.memory_info().rss / 1024,
            "orchestrator handles": own.num_fds(),
            "workers' RSS, KiB": sum(one.memory_info().rss for one in workers) / 1024,
            "workers' handles": sum(one.num_fds() for one in workers),
            "Redis keys": self.raw.dbsize(),
            "Redis bytes": memory["used_memory"],
        }


def report(samples: list[Sample]) -> None:
    """First, last and slope of everything."""
    steady = samples[len(samples) // 4 :]
    jobs = [one["jobs"] for one in steady]
    for name in samples[0]:
        if name != "jobs":
            slope = statistics.linear_regression(jobs, [one[name] for one in steady]).slope
            print(
                f"{name:<24} {steady[0][name]:>12.0f} -> {steady[-1][name]:>12.0f}   {1000 * slope:+10.1f} a 1000 jobs"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    arguments = parser.parse_args()
    os.environ["SENSE_LOG_LEVEL"] = "WARNING"
    configure_logging("soak")
    with tempfile.TemporaryDirectory(prefix="sense-soak-") as name, start_valkey(Path(name), append_only=True) as url:
        os.environ |= {"SENSE_REDIS_URL": url, "SENSE_REDIS_PREFIX": "soak:"}
        spawn = multiprocessing.get_context("spawn")
        crowd = [spawn.Process(target=worker, args=(url, "soak:"), daemon=True) for _ in range(2)]
        for one in crowd:
            one.start()
        began, samples = time.monotonic(), []
        soak = Soak(url, Path(name) / "objects")
        try:
            for jobs in range(BATCH, arguments.jobs + 1, BATCH):
                soak.batch()
                samples.append(soak.sample(jobs, [psutil.Process(one.pid) for one in crowd]))
        finally:
            for one in crowd:
                one.kill()
        print(f"{samples[-1]['jobs']:.0f} jobs of {SHARDS} shards in {time.monotonic() - began:.0f} s")
        report(samples)


if __name__ == "__main__":
    main()
