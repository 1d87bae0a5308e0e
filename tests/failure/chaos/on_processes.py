"""What happens to processes: killed, paused, doubled, and killed by one shard again and again."""

import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from services.cli.stack.manager import StackError
from shared.errors import UnavailableError
from shared.jobs.state import ShardState
from tests.failure.chaos.world import LEASE_S, ChaosWorld, Happening
from tests.support.stack import REPO, wait_until

BACK_S = 60


def living(world: ChaosWorld, program: str) -> psutil.Process:
    """A supervised program, once it runs: another disturbance may have taken it down just now."""
    found: list[psutil.Process] = []

    def there() -> bool:
        with suppress(psutil.NoSuchProcess, StackError):
            if pid := world.stack.pid(program):
                found.append(psutil.Process(pid))
        return bool(found)

    wait_until(there, f"a living {program}", limit_s=BACK_S, poll_s=0.1)
    return found[0]


def kill(program: str, *, child: bool = False) -> Happening:
    """SIGKILL of a supervised program, or of the first process below it."""

    def happen(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
        process = living(world, program)
        world.stack.remember()
        with suppress(psutil.NoSuchProcess):
            below = process.children() if child else [process]
            for one in below[:1]:
                one.kill()

    return happen


def pause(program: str) -> Happening:
    """SIGSTOP of a worker and all below it, until its leases are long over; then it wakes and goes on."""

    def happen(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
        process = living(world, program)
        family = [process]
        with suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
        send(family, signal.SIGSTOP)
        try:
            time.sleep(LEASE_S * 2)
        finally:
            send(family, signal.SIGCONT)

    return happen


def send(family: list[psutil.Process], number: signal.Signals) -> None:
    """A signal to those that still live."""
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(number)


def two_orchestrators(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
    """A second one works beside the first for a while, and is killed."""
    with suppress(psutil.NoSuchProcess):
        env = living(world, "orchestrator").environ()
        command = [sys.executable, "-m", "services.orchestrator.app"]
        with subprocess.Popen(
            command, env=env, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as second:
            time.sleep(8)
            second.kill()


def poison(world: ChaosWorld, job: str, rng: random.Random) -> None:
    """One shard kills the sandbox's child whenever it is met, until it has no attempt left or got through."""
    place = (rng.choice(("build.train", "verify.train", "judge")), rng.randrange(4))
    jobs, ends = world.stack.jobs, time.monotonic() + 40
    while time.monotonic() < ends:
        with suppress(UnavailableError):
            if jobs.job(job).status.terminal:
                return
            row = jobs.shards_at([(job, *place)])[0]
            if row is not None and row.state is ShardState.DONE:
                return
            if row is not None and row.state is ShardState.RUNNING:
                kill("worker-sandbox", child=True)(world, job, rng)
                time.sleep(0.2)
        time.sleep(0.002)
