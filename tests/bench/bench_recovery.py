"""How long a job stands after a worker was killed, and after Redis was killed and came back from its file.

Real: the embedded stack, SIGKILL, supervisord's restart. A worker's recovery is from the kill to the shard's next
claim; it has a lease to run out first. Redis's is from the kill to the first claim or finish of any shard after it.

    python -m tests.bench.bench_recovery [--leases 3 30] [--times 3]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from shared.errors import UnavailableError
from shared.jobs.state import ShardRecord, ShardState
from tests.failure.chaos.world import ChaosWorld, chaos_world, small_job

LIMIT_S = 120.0


def rows_of(world: ChaosWorld, job: str) -> list[ShardRecord]:
    """All rows; none while Redis is away."""
    try:
        plan = world.stack.jobs.plan(job)
        return [row for stage in plan.stages for row in world.stack.jobs.shards(job, stage.id)] if plan else []
    except UnavailableError:
        return []


def wait_running(world: ChaosWorld, job: str, stage: str) -> ShardRecord:
    """A row of that stage that runs now."""
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends:
        for row in rows_of(world, job):
            if row.stage == stage and row.state is ShardState.RUNNING:
                return row
        time.sleep(0.005)
    raise RuntimeError(f"no shard of {stage} ran within {LIMIT_S:.0f} s")


def submit(world: ChaosWorld) -> str:
    """A job whose answers have to be bought."""
    world.forget_answers()
    return world.stack.client.submit(small_job(0)).id


def finish(world: ChaosWorld, job: str) -> None:
    """To the job's end."""
    world.stack.wait(job, limit_s=LIMIT_S)


def worker_recovery(world: ChaosWorld) -> float:
    """Seconds from the kill of the synthesis worker to the second claim of the shard that it held."""
    job = submit(world)
    held = wait_running(world, job, "write.train")
    killed = time.monotonic()
    psutil.Process(world.stack.pid("worker-synthesis")).kill()
    while True:
        row = world.stack.jobs.shard(job, "write.train", held.shard)
        if row.attempt > held.attempt and row.state is not ShardState.QUEUED:
            break
        if row.attempt == held.attempt and row.state is ShardState.DONE:
            raise RuntimeError("the shard was done before the kill came")
        time.sleep(0.01)
    took = time.monotonic() - killed
    finish(world, job)
    return took


def redis_recovery(world: ChaosWorld) -> float:
    """Seconds from the kill of Redis to the next row that was claimed or finished."""
    job = submit(world)
    wait_running(world, job, "write.train")
    before = {(row.stage, row.shard, row.state) for row in rows_of(world, job) if row.state is not ShardState.QUEUED}
    killed = time.monotonic()
    psutil.Process(world.stack.pid("redis")).kill()
    while True:
        now = {(row.stage, row.shard, row.state) for row in rows_of(world, job) if row.state is not ShardState.QUEUED}
        if now - before:
            break
        time.sleep(0.01)
    took = time.monotonic() - killed
    finish(world, job)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=float, nargs="+", default=[3.0, 30.0])
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    for lease in arguments.leases:
        with tempfile.TemporaryDirectory(prefix="sense-") as folder, chaos_world(Path(folder), lease_s=lease) as world:
            finish(world, submit(world))
            for name, measure in (("killed worker", worker_recovery), ("Redis restart", redis_recovery)):
                took = sorted(measure(world) for _ in range(arguments.times))
                shown = ", ".join(f"{one:.1f}" for one in took)
                print(f"lease {lease:4.0f} s  {name}: median {statistics.median(took):5.1f} s of {shown}", flush=True)


if __name__ == "__main__":
    main()
