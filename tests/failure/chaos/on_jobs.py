"""What may be wrong with a job of somebody else: a victim is poisoned, and the job beside it must not notice.

A kind is a `Poison` in `POISONS`: the victim's spec, and what is done to it once it is submitted. Poisoned texts have
their poison in what the spec's endpoint answers, and strike with nothing.
"""

import json
import random
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import redis

from shared.contracts.base import Queue
from shared.errors import NotFoundError, SenseError, UnavailableError
from shared.jobs.state import ShardState
from shared.settings import RedisSettings
from shared.tasks.app import queue_key
from tests.failure.chaos.world import POISON_MODEL, ChaosWorld, Happening
from tests.support.stack import wait_until

PATIENCE_S = 240.0
SMALL: Mapping[str, Any] = {"kind": "synthesis", "name": "victim", "train": {"sft": [{"synthesis": 8, "per_shard": 2}]}}
T = TypeVar("T")
Strike = Callable[[ChaosWorld, str, random.Random], None]


def patiently(step: Callable[[], T]) -> T:
    """The answer of a server to which something else may be happening."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            return step()
        except (UnavailableError, redis.ConnectionError, redis.TimeoutError):
            if time.monotonic() > ends:
                raise
            time.sleep(0.2)


def nothing(_world: ChaosWorld, _victim: str, _rng: random.Random) -> None:
    """The poison is in the spec."""


@dataclass(frozen=True)
class Poison:
    """A victim's spec, what is done to it, and how it may end: by chance it may be past what is poisoned."""

    strike: Strike = nothing
    spec: Mapping[str, Any] = field(default_factory=lambda: SMALL)
    ends: frozenset[str] = frozenset({"failed", "succeeded"})


def poisoned(kind: str) -> Happening:
    """A victim of this kind comes, is struck, and has to end; what that does to others their own rounds tell."""

    def happen(world: ChaosWorld, _job: str, rng: random.Random) -> None:
        poison = POISONS[kind]
        victim = patiently(lambda: world.stack.client.submit(dict(poison.spec)).id)
        poison.strike(world, victim, rng)
        wait_until(
            lambda: status_of(world, victim) in poison.ends, f"an end of the {kind}'s victim", limit_s=PATIENCE_S
        )
        listed = patiently(lambda: [job.id for job in world.stack.client.jobs(limit=100)])
        assert victim in listed, f"the list leaves the {kind}'s victim out"

    return happen


def status_of(world: ChaosWorld, job: str) -> str:
    """As the API says it."""
    with suppress(SenseError):
        return world.stack.client.job(job).status
    return "unknown"


def after_rows(world: ChaosWorld, victim: str, state: ShardState) -> tuple[str, int] | None:
    """A shard of the first stage that has reached a state; None where the victim ended before."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        with suppress(UnavailableError, NotFoundError):
            rows = list(world.stack.jobs.shards(victim, "write.train"))
            if found := next((row for row in rows if row.state is state), None):
                return found.stage, found.shard
            if world.stack.jobs.job(victim).status.terminal:
                return None
        time.sleep(0.01)
    raise AssertionError(f"no shard of the victim was ever {state}")


def fields(*parts: str, **values: str) -> Strike:
    """Fields of one of the victim's hashes."""

    def strike(world: ChaosWorld, victim: str, _rng: random.Random) -> None:
        jobs = world.stack.jobs
        patiently(lambda: jobs.client.hset(jobs.key("job", victim, *parts), mapping=values))

    return strike


def record(world: ChaosWorld, victim: str, rng: random.Random) -> None:
    """One of the keys that every step of the job reads holds something else."""
    jobs, part = world.stack.jobs, rng.choice(((), ("stages",), ("stage", "write.train"), ("shards", "write.train")))
    time.sleep(rng.uniform(0, 1))
    patiently(lambda: jobs.client.set(jobs.key("job", victim, *part), "not what it was"))


def plan(world: ChaosWorld, victim: str, rng: random.Random) -> None:
    """A plan that no version reads, from before its compilation on."""
    text = rng.choice(("{", "[" * 100_000, '{"stages": [{"id": "a", "task": "dream", "source": {}}]}'))
    fields(plan=text)(world, victim, rng)


def row(world: ChaosWorld, victim: str, rng: random.Random) -> None:
    """A row that waits, runs or is done."""
    if (place := after_rows(world, victim, rng.choice((ShardState.QUEUED, ShardState.DONE)))) is not None:
        wrong = rng.choice(({"params": "{"}, {"state": "dreaming"}, {"outputs": "{"}, {"attempt": "first"}))
        fields("row", place[0], str(place[1]), **wrong)(world, victim, rng)


def fact(world: ChaosWorld, victim: str, rng: random.Random) -> None:
    """Entries of the common stream that say nothing sensible."""
    jobs = world.stack.jobs
    for entry in (
        {"hello": "world"},
        {"name": "examples.written", "job_id": victim, "stage": "write.train", "shard": "one", "at": "1"},
        {"name": "examples.written", "job_id": victim, "stage": "dreams", "shard": "7", "at": "now", "data": "{"},
    ):
        patiently(lambda entry=entry: jobs.client.xadd(jobs.key("events"), entry))  # type: ignore[misc]


def message(world: ChaosWorld, victim: str, rng: random.Random) -> None:
    """Entries of the workers' lists that are no messages, or messages of unknown tasks."""
    envelope = {"body": "x", "headers": {"task": "sandbox.dream"}, "properties": {}}
    for queue in (Queue.SYNTHESIS, Queue.SANDBOX, Queue.PAIRING):
        for entry in ("not json", "5", "[" * 50_000, json.dumps(envelope)):
            key = queue_key(RedisSettings(), queue)
            patiently(lambda key=key, entry=entry: world.stack.jobs.client.lpush(key, entry))  # type: ignore[misc]


def stored(world: ChaosWorld, victim: str, _rng: random.Random) -> None:
    """What a finished shard left is not what was recorded."""
    if (place := after_rows(world, victim, ShardState.DONE)) is not None:
        found = patiently(lambda: world.stack.jobs.shard(victim, *place))
        for ref in found.outputs.values():
            world.stack.objects.put(ref.key, b'{"half a')


def files(world: ChaosWorld, _victim: str, rng: random.Random) -> None:
    """Uploads that are no databases, are cut off, or take long to look into."""
    whole = Path(world.stack.file.state).parent / f"poison-{rng.randrange(1 << 30)}.sqlite"
    with closing(sqlite3.connect(whole)) as made:
        made.execute("CREATE TABLE a (x INTEGER PRIMARY KEY, t TEXT COLLATE NOCASE UNIQUE)")
        made.executemany("INSERT INTO a (t) VALUES (?)", ((f"{n:09}" * 20,) for n in range(20_000)))
        made.execute(f"CREATE VIEW v AS SELECT {'(' * 60}x{')' * 60} FROM a")
        made.commit()
    data = whole.read_bytes()
    cut, spoiled = data[: len(data) // 3], bytearray(data)
    spoiled[200 : len(spoiled) : 4096] = bytes(len(range(200, len(spoiled), 4096)))
    for content in (b"", b"<html>not a database</html>", data[:100], cut, bytes(spoiled)):
        whole.write_bytes(content)
        with suppress(SenseError):
            world.stack.client.upload_database(whole)
    whole.unlink()


def keys(world: ChaosWorld, _victim: str, rng: random.Random) -> None:
    """Records of keys that nobody signed, or that are no records: they open nothing and lock nobody out."""
    for number, content in enumerate((b"{", b"", b"\xff\xfe", b'{"record": {"role": "admin"}, "signature": "x"}')):
        world.stack.objects.put(f"keys/poison-{rng.randrange(1 << 30)}-{number}.json", content)
    time.sleep(3.0)  # longer than the gateway takes to see them
    assert patiently(lambda: list(world.stack.client.jobs(limit=1)))
    for key in list(world.stack.objects.list("keys/poison-")):
        world.stack.objects.delete(key)


TEXTS: Mapping[str, Any] = {**SMALL, "strong": {"endpoint": "strong", "model": POISON_MODEL}}
POISONS: dict[str, Poison] = {
    "poisoned record": Poison(record),
    "poisoned spec": Poison(fields(spec="{"), ends=frozenset({"failed", "succeeded"})),
    "poisoned plan": Poison(plan),
    "poisoned row": Poison(row),
    "poisoned fact": Poison(fact, ends=frozenset({"succeeded"})),
    "poisoned message": Poison(message, ends=frozenset({"succeeded"})),
    "corrupt object": Poison(stored),
    "poisoned text": Poison(spec=TEXTS),
    "poisoned file": Poison(files, ends=frozenset({"succeeded"})),
    "poisoned key": Poison(keys, ends=frozenset({"succeeded"})),
}
