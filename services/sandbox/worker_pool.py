"""The children and the memory of golds that one worker process keeps from shard to shard."""

import threading

from services.sandbox.golds import GoldMemory
from services.sandbox.judge import Judge
from services.sandbox.pool import SandboxPool
from shared.contracts.records import Policy
from shared.settings import PathSettings, SandboxSettings
from shared.tasks.shard import Shard

_lock = threading.Lock()
_pools: list[SandboxPool] = []
_golds: list[GoldMemory] = []


def worker_pool(shard: Shard) -> SandboxPool:
    """This process's pool; its children die when the shard's lease ends, and the next shard gets new ones."""
    with _lock:
        if not _pools or _pools[0].ended:
            _pools[:] = [SandboxPool(SandboxSettings().children)]
        pool = _pools[0]
    shard.on_abort(pool.kill)
    return pool


def worker_judge(shard: Shard, policy: Policy) -> Judge:
    """A judge over this process's pool; golds are remembered for all workers of the machine."""
    pool = worker_pool(shard)
    with _lock:
        if not _golds:
            _golds.append(GoldMemory(PathSettings().golds))
    return Judge(pool, policy, golds=_golds[0])
