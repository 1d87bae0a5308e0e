"""What a broker may do to commands: deliver them again, late, and in another order."""

import os
import random
import time
from contextlib import suppress

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from services.orchestrator.dispatch import command_fields
from shared.contracts.base import Queue, to_json
from shared.contracts.registry import CONTRACTS
from shared.errors import SenseError
from shared.jobs.plan import EachShard
from shared.jobs.state import ShardState
from shared.settings import RedisSettings
from shared.tasks.app import make_app, queue_key
from tests.failure.chaos.world import AWAY_S, LEASE_S, ChaosWorld

Message = tuple[str, str]
POLL_S = 0.05


def deliver_again(world: ChaosWorld, job: str, _rng: random.Random) -> None:
    """Every command in flight is sent once more, again and again for a while."""
    celery = celery_of(world)
    ends = time.monotonic() + 2 * AWAY_S
    while time.monotonic() < ends:
        with suppress(SenseError, OperationalError):
            for name, command in commands_in_flight(world, job):
                celery.send_task(name, kwargs={"command": command}, queue=CONTRACTS[name].queue.value)
        time.sleep(0.25)
    celery.close()


def celery_of(world: ChaosWorld) -> Celery:
    """A sender to that stack's broker."""
    saved = dict(os.environ)
    os.environ["SENSE_REDIS_URL"] = world.stack.file.redis_url
    try:
        return make_app()
    finally:
        os.environ.clear()
        os.environ.update(saved)


def commands_in_flight(world: ChaosWorld, job: str) -> list[tuple[str, dict[str, object]]]:
    """The commands of all rows that are queued or running, as the dispatcher writes them."""
    jobs, found = world.stack.jobs, []
    plan = jobs.plan(job)
    for stage in plan.stages if plan else []:
        for row in jobs.shards(job, stage.id):
            if row.state in (ShardState.QUEUED, ShardState.RUNNING):
                source = stage.source
                before = jobs.shard(job, source.stage, row.shard) if isinstance(source, EachShard) else None
                command = CONTRACTS[stage.task].command
                fields = command_fields(job, job, stage, row, before)
                found.append((stage.task, to_json(command.model_validate(fields))))
    return found


def out_of_order(world: ChaosWorld, _job: str, rng: random.Random) -> None:
    """Commands are held back and let go in any order, some of them after they were sent again or are of no use."""
    held: list[Message] = []
    ends = time.monotonic() + 2 * LEASE_S
    try:
        while time.monotonic() < ends:
            with suppress(redis.RedisError, SenseError):
                held += taken(world)
                rng.shuffle(held)
                while len(held) > 4 or (held and rng.random() < POLL_S / LEASE_S):
                    deliver(world, held)
            time.sleep(POLL_S)
    finally:
        while held:
            with suppress(redis.RedisError, SenseError):
                deliver(world, held)


def taken(world: ChaosWorld) -> list[Message]:
    """All that waits in Celery's lists, which are empty after it."""
    client, found = world.stack.jobs.client, []
    for queue in Queue:
        key = queue_key(RedisSettings(), queue)
        found += [(key, message) for message in client.lpop(key, 100) or []]
    return found


def deliver(world: ChaosWorld, held: list[Message]) -> None:
    """The last one goes, to the end that is read next; it stays held where Redis is away."""
    world.stack.jobs.client.rpush(*held[-1])
    held.pop()
