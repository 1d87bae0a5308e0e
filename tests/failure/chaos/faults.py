"""What happens to a running stack, each thing drawn and timed by a seed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from services.orchestrator.dispatch import command_fields
from shared.contracts.base import as_json
from shared.contracts.registry import CONTRACTS
from shared.errors import SenseError
from shared.jobs.plan import Each
from shared.jobs.state import ShardState
from shared.tasks.app import make_app
from tests.failure.chaos.world import LEASE_S, ChaosWorld
from tests.support.faults import Fault as Answered
from tests.support.faults import FaultPlan
from tests.support.stack import REPO

Happening = Callable[[ChaosWorld, str, random.Random], None]
PROGRAMS = ("synthesis", "sandbox", "pairing", "evaluation", "serving")
AWAY_S = 2.5
NO_FAULTS = FaultPlan()


def kill(program: str, *, child: bool = False) -> Happening:
    """SIGKILL of a supervised program, or of the first process below it."""

    def happen(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
        with suppress(psutil.NoSuchProcess, StopIteration):
            process = psutil.Process(world.stack.pid(program))
            world.stack.remember()
            below = process.children() if child else [process]
            for one in below[:1]:
                one.kill()

    return happen


def pause(program: str) -> Happening:
    """SIGSTOP of a worker and all below it, until its leases are long over; then it wakes and goes on."""

    def happen(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
        process = psutil.Process(world.stack.pid(program))
        family = [process, *process.children(recursive=True)]
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


def store_away(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
    """503 for a while, then slow for a while."""
    with world.proxy.fault("503"):
        time.sleep(AWAY_S)
    with world.proxy.fault("slow"):
        time.sleep(AWAY_S)


def endpoints_fail(world: ChaosWorld, _job: str, rng: random.Random) -> None:
    """Both endpoints answer a good part of the calls with errors."""
    rates = {Answered.SERVER_ERROR: 0.2, Answered.OVERLOADED: 0.2, Answered.RATE_LIMIT: 0.2}
    for server in (world.strong, world.weak):
        server.faults = FaultPlan(rates=rates, seed=rng.randrange(1 << 30))
    time.sleep(2 * AWAY_S)
    for server in (world.strong, world.weak):
        server.faults = NO_FAULTS


def deliver_again(world: ChaosWorld, job: str, _rng: random.Random) -> None:
    """Every command in flight is sent once more, again and again for a while."""
    saved = dict(os.environ)
    os.environ["SENSE_REDIS_URL"] = world.stack.file.redis_url
    try:
        celery = make_app()
    finally:
        os.environ.clear()
        os.environ.update(saved)
    ends = time.monotonic() + 2 * AWAY_S
    while time.monotonic() < ends:
        with suppress(SenseError):
            for name, command in commands_in_flight(world, job):
                celery.send_task(name, kwargs={"command": command}, queue=CONTRACTS[name].queue.value)
        time.sleep(0.25)
    celery.close()


def commands_in_flight(world: ChaosWorld, job: str) -> list[tuple[str, dict[str, object]]]:
    """The commands of all rows that are queued or running, as the dispatcher writes them."""
    jobs, found = world.stack.jobs, []
    plan = jobs.plan(job)
    for stage in plan.stages if plan else []:
        for row in jobs.rows(job, stage.id):
            if row.state in (ShardState.QUEUED, ShardState.RUNNING):
                source = stage.source
                before = jobs.row(job, source.stage, row.shard) if isinstance(source, Each) else None
                command = CONTRACTS[stage.task].command
                fields = command_fields(job, job, stage, row, before)
                found.append((stage.task, as_json(command.model_validate(fields))))
    return found


def two_orchestrators(world: ChaosWorld, _job: str, _rng: random.Random) -> None:
    """A second one works beside the first for a while, and is killed."""
    with suppress(psutil.NoSuchProcess, StopIteration):
        env = psutil.Process(world.stack.pid("orchestrator")).environ()
        command = [sys.executable, "-m", "services.orchestrator.app"]
        second = subprocess.Popen(command, env=env, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(8)
        second.kill()
        second.wait()


def poison(world: ChaosWorld, job: str, rng: random.Random) -> None:
    """One shard kills the sandbox's child whenever it is met, until it has no attempt left or got through."""
    place = (rng.choice(("build.train", "verify.train", "judge")), rng.randrange(4))
    jobs, ends = world.stack.jobs, time.monotonic() + 40
    while time.monotonic() < ends and not jobs.job(job).status.terminal:
        row = jobs.rows_at([(job, *place)])[0]
        if row is not None and row.state is ShardState.DONE:
            return
        if row is not None and row.state is ShardState.RUNNING:
            kill("worker-sandbox", child=True)(world, job, rng)
            time.sleep(0.2)
        time.sleep(0.002)


HAPPENINGS: dict[str, Happening] = {
    **{f"kill {name}": kill(f"worker-{name}") for name in PROGRAMS},
    **{f"kill {name}'s child": kill(f"worker-{name}", child=True) for name in PROGRAMS},
    **{f"kill {name}": kill(name) for name in ("orchestrator", "gateway", "engine", "redis")},
    **{f"pause {name}": pause(f"worker-{name}") for name in ("synthesis", "sandbox", "pairing")},
    "store 503, then slow": store_away,
    "endpoints fail": endpoints_fail,
    "every command again": deliver_again,
    "two orchestrators": two_orchestrators,
    "poisoned shard": poison,
}
