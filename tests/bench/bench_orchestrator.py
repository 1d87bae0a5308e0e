"""Shards a second through claim, finish, fact and next command, and what a finished shard weighs in Redis.

Real: Valkey with its append-only file, the Orchestrator and Dispatcher in this process, Celery's Redis transport for
the messages. The workers are processes of their own that take messages from Celery's lists and do what `run_shard` does
without the work: claim, then finish with an output and counts. Half of a job's shards are a fixed stage, the other half
follows it shard by shard.

    python -m tests.bench.bench_orchestrator [--sizes 100 1000 10000] [--workers 2] [--large] [--listpack 64]
"""

import argparse
import base64
import json
import multiprocessing
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import redis

from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.loop import Orchestrator
from services.orchestrator.retention import Retention
from services.orchestrator.settings import RetentionSettings
from shared.contracts.base import ObjectRef, Queue, ShardFinished
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import SynthesisSpec
from shared.jobs.events import EventReader
from shared.jobs.plan import EachShard, FixedShards, JobPlan, StagePlan
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.logging import configure_logging
from shared.redis import connect_redis
from shared.settings import RedisSettings
from shared.storage.directory import DirectoryStore
from shared.tasks.app import make_app, queue_key
from tests.support.valkey import start_valkey

QUEUES = (Queue.SYNTHESIS, Queue.SANDBOX)
SLOTS = 64
LARGE = 100_000
LEASE_S = 30.0


def two_stages(shards: int) -> JobPlan:
    """Half of the shards write, the other half build, each after its own."""
    params = {"writer": "grammar", "split": "train", "levels": {"easy": 1.0}, "seed": 1}
    source = FixedShards(shards=[{"count": 2}] * (shards // 2))
    follow = EachShard(stage="write", fields={"written": "written"})
    return JobPlan(
        stages=[
            StagePlan(id="write", task="synthesis.write_examples", source=source, params=params),
            StagePlan(id="build", task="sandbox.build_database", source=follow),
        ]
    )


def no_work(message: bytes, jobs: JobStore) -> None:
    """Claims the shard of one message and finishes it."""
    envelope = json.loads(message)
    command = json.loads(base64.b64decode(envelope["body"]))[1]["command"]
    contract = CONTRACTS[envelope["headers"]["task"]]
    token, where = uuid.uuid4().hex, (command["job_id"], command["stage"], command["shard"])
    if jobs.claim(*where, command["attempt"], token=token, worker="bench:1", lease_s=LEASE_S) != "ok":
        return
    key = f"jobs/{where[0]}/{where[1]}/{where[2]}.1.{contract.outputs[0]}.jsonl"
    outputs = {name: ObjectRef(key=key, sha256=token * 2, size=1234) for name in contract.outputs}
    fact = ShardFinished(
        name=contract.event, job_id=where[0], stage=where[1], shard=where[2], attempt=1, outputs=outputs
    )
    zeros = {name: 2 for name, field in contract.counts.model_fields.items() if field.is_required()}
    jobs.finish(fact, contract.counts.model_validate(zeros), token=token)


def worker(url: str, prefix: str) -> None:
    """Takes messages until its parent ends it."""
    settings = RedisSettings.model_validate({"url": url, "prefix": prefix})
    jobs, raw = JobStore(connect_redis(settings), prefix), redis.Redis.from_url(url)
    keys = [queue_key(settings, queue) for queue in QUEUES]
    while True:
        found: Any = raw.brpop(keys, timeout=1)
        if found:
            no_work(found[1], jobs)


def run_job(url: str, folder: Path, shards: int) -> tuple[float, float]:
    """Seconds from submission to the end of one job, and the CPU seconds of this process meanwhile."""
    settings = RedisSettings()
    store = JobStore(connect_redis(settings), settings.prefix)
    board = WorkerRegistry(store.client, settings.prefix)
    facts = EventReader(store.client, settings.prefix, "bench")
    facts.open()
    loop = Orchestrator(store, DirectoryStore(folder), facts, Dispatcher(store, board, make_app()))
    job, _ = store.submit(SynthesisSpec(kind="synthesis"))
    store.set_plan(job, two_stages(shards))
    began, cpu, beaten = time.monotonic(), time.process_time(), 0.0
    while not store.client.hget(store.key("job", job), "finished_at"):
        if time.monotonic() - beaten > 5:
            beaten = time.monotonic()
            for queue in QUEUES:
                board.beat(queue, "bench", SLOTS)
        loop.step()
    took = time.monotonic() - began, time.process_time() - cpu
    counts = [store.client.hget(store.key("job", job, "stage", stage), "done") for stage in ("write", "build")]
    assert counts == [str(shards // 2)] * 2, counts
    return took


def weigh(client: Any, prefix: str) -> dict[str, int]:
    """Bytes of Redis by kind of key."""
    found: dict[str, int] = {}
    for key in client.scan_iter(f"{prefix}*", count=1000):
        part = key.removeprefix(prefix).split(":")
        kind = part[2] if part[0] == "job" and len(part) > 2 else part[0]
        found[kind] = found.get(kind, 0) + int(client.memory_usage(key, samples=0) or 0)
    return found


def measure(shards: int, workers: int, listpack: int) -> None:
    """One size on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="sense-bench-") as name, start_valkey(Path(name), append_only=True) as url:
        os.environ |= {"SENSE_REDIS_URL": url, "SENSE_REDIS_PREFIX": "bench:"}
        client = redis.Redis.from_url(url, decode_responses=True)
        client.config_set("hash-max-listpack-value", listpack)
        before = client.info("memory")["used_memory"]
        spawn = multiprocessing.get_context("spawn")
        crowd = [spawn.Process(target=worker, args=(url, "bench:"), daemon=True) for _ in range(workers)]
        for one in crowd:
            one.start()
        time.sleep(3)  # workers import
        try:
            seconds, cpu = run_job(url, Path(name) / "objects", shards)
        finally:
            for one in crowd:
                one.kill()
        used = client.info("memory")["used_memory"] - before
        kinds = {kind: size for kind, size in sorted(weigh(client, "bench:").items()) if size > shards}
        print(
            f"{shards:>7} shards: {seconds:7.1f} s, {shards / seconds:6.0f} shards/s, "
            f"{1000 * cpu / shards:5.2f} ms of the orchestrator's CPU and {used / shards:6.0f} bytes a shard"
        )
        print("         by key:", {kind: round(size / shards) for kind, size in kinds.items()}, flush=True)
        settings = RetentionSettings(rows_days=0, orphans_days=0, checkpoints_days=0, events_days=0)
        store = JobStore(connect_redis(RedisSettings()), "bench:")
        list(Retention(store, DirectoryStore(Path(name) / "objects"), settings).run(now=time.time() + 60))
        left = client.info("memory")["used_memory"] - before
        print(f"         after retention: {left / shards:.0f} bytes a shard, {client.dbsize()} keys", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--large", action="store_true", help=f"also {LARGE} shards")
    parser.add_argument("--listpack", type=int, default=512, help="the server's hash-max-listpack-value; its own: 64")
    arguments = parser.parse_args()
    os.environ["SENSE_LOG_LEVEL"] = "WARNING"
    configure_logging("bench")
    print(f"{arguments.workers} no-op worker processes, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for shards in [*arguments.sizes, *([LARGE] if arguments.large else [])]:
        measure(shards, arguments.workers, arguments.listpack)


if __name__ == "__main__":
    main()
