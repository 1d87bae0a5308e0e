"""The children and the memory of golds that one worker process keeps from shard to shard, and what walls they have."""

import threading

from services.sandbox.execution.child_process import probe_walls
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.judge import GoldCache, Judge
from shared.contracts.records import Policy
from shared.logging import get_logger
from shared.metrics import WALLS
from shared.settings import PathSettings, SandboxSettings
from shared.tasks.task import Shard

_lock = threading.Lock()
_pools: list[SandboxPool] = []
_golds: list[GoldCache] = []
log = get_logger()


def report_walls() -> dict[str, bool]:
    """Says in log and metrics which of the kernel's walls stand around children here.

    Raises MissingWallsError where one lacks that SENSE_SANDBOX_REQUIRE_WALLS asks for.
    """
    walls = probe_walls()
    for name, holds in walls.items():
        WALLS.labels(wall=name).set(holds)
    say = log.info if all(walls.values()) else log.warning
    say("sandbox.walls", **walls)
    return walls


def shard_pool(shard: Shard) -> SandboxPool:
    """This process's pool; its children die when the shard's lease ends, and the next shard gets new ones."""
    with _lock:
        if not _pools or _pools[0].ended:
            _pools[:] = [SandboxPool(SandboxSettings().children)]
        pool = _pools[0]
    shard.on_abort(pool.kill)
    return pool


def shard_judge(shard: Shard, policy: Policy) -> Judge:
    """A judge over this process's pool; golds are remembered for all workers of the machine."""
    pool = shard_pool(shard)
    with _lock:
        if not _golds:
            _golds.append(GoldCache(PathSettings().golds))
    return Judge(pool, policy, golds=_golds[0])
