"""What happens to servers and disks: the store, the endpoints, the disk below Redis and all others."""

import random
import resource
import time
from contextlib import suppress

import psutil

from services.cli.stack.manager import supervisor_pid
from tests.failure.chaos.world import AWAY_S, LEASE_S, ChaosWorld
from tests.support.faults import Fault as Answered
from tests.support.faults import FaultPlan

NO_FAULTS = FaultPlan()
FULL, FREE = (0, resource.RLIM_INFINITY), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def store_away(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
    """503 for a while, then slow for a while."""
    with world.proxy.fault("503"):
        time.sleep(AWAY_S)
    with world.proxy.fault("slow"):
        time.sleep(AWAY_S)


def store_full(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
    """What is there can be read, and nothing can be written: also no answer that was paid for."""
    with world.proxy.fault("full"):
        time.sleep(2 * AWAY_S)


def disk_full(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
    """No process of the stack can write to a file, Redis and its log first, until all leases are over.

    By the limit on a file's size, which needs no root and no mount: a write fails, with EFBIG in place of ENOSPC.
    """
    limit_files(world, FREE, FULL)
    try:
        time.sleep(1.5 * LEASE_S)
    finally:
        while limit_files(world, FULL, FREE):  # once more for what was started meanwhile
            time.sleep(0.1)


def limit_files(world: ChaosWorld, now: tuple[int, int], then: tuple[int, int]) -> int:
    """Changes the limit of all that have `now`; the sandbox's children have bounds of their own. How many it were."""
    pid, changed = supervisor_pid(world.stack.state), 0
    assert pid is not None
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.rlimit(psutil.RLIMIT_FSIZE) == now:
                process.rlimit(psutil.RLIMIT_FSIZE, then)
                changed += 1
    return changed


def endpoints_fail(world: ChaosWorld, _job: str, rng: random.Random) -> None:
    """Both endpoints answer a good part of the calls with errors."""
    rates = {Answered.SERVER_ERROR: 0.2, Answered.OVERLOADED: 0.2, Answered.RATE_LIMIT: 0.2}
    for server in (world.strong, world.weak):
        server.faults = FaultPlan(rates=rates, seed=rng.randrange(1 << 30))
    time.sleep(2 * AWAY_S)
    for server in (world.strong, world.weak):
        server.faults = NO_FAULTS
