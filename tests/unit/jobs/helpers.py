"""Short ways to say what the job store's tests need: a store of its own prefix, small plans, jobs with rows."""

import uuid
from typing import Any

from pydantic import SecretStr

from shared.contracts.base import ShardFinished
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import SynthesisSpec
from shared.contracts.synthesis import WrittenCounts
from shared.jobs.events import Event, JobEvents
from shared.jobs.plan import DeviceLease, EachShard, FixedShards, JobPlan, StagePlan
from shared.jobs.store import JobStore
from shared.redis import connect_redis
from shared.settings import RedisSettings

LEASE_S = 30.0
SHORT_S = 0.6


def open_jobs(url: str, prefix: str | None = None) -> JobStore:
    """A store on a connection of its own."""
    prefix = prefix or f"t{uuid.uuid4().hex[:8]}:"
    return JobStore(connect_redis(RedisSettings(url=SecretStr(url), prefix=prefix)), prefix)


def twin(store: JobStore, url: str) -> JobStore:
    """The same store for another thread."""
    return open_jobs(url, store.prefix)


def writing(shards: int, *, stage: str = "write") -> StagePlan:
    """A stage that writes examples."""
    params = {"writer": "grammar", "split": "train", "levels": {"easy": 1.0}, "seed": 1}
    source = FixedShards(shards=[{"count": 2} for _ in range(shards)])
    return StagePlan(id=stage, task="synthesis.write_examples", source=source, params=params)


def building(stage: str = "build", upstream: str = "write") -> StagePlan:
    """A stage that follows `upstream` shard by shard."""
    source = EachShard(stage=upstream, fields={"written": "written"})
    return StagePlan(id=stage, task="sandbox.build_database", source=source)


def on_device(stage: str, task: str, device: DeviceLease, *, frees: str | None = None, **params: Any) -> StagePlan:
    """A stage of one shard that needs a device."""
    source = FixedShards(shards=[{}])
    return StagePlan(id=stage, task=task, source=source, device=device, frees=frees, params=params)


def add_job(store: JobStore, *stages: StagePlan, lost_allowed: int = 0) -> str:
    """A job with this plan, and the rows of its fixed stages."""
    job, new = store.submit(SynthesisSpec(kind="synthesis"))
    assert new
    store.set_plan(job, JobPlan(stages=list(stages), lost_allowed=lost_allowed))
    for stage in stages:
        if isinstance(stage.source, FixedShards):
            store.add_shards(job, stage.id, dict(enumerate(stage.source.shards)))
            store.close_stage(job, stage.id)
    return job


def claim(store: JobStore, job: str, shard: int = 0, *, stage: str = "write", **fields: Any) -> str:
    """A claim with the usual arguments."""
    values: dict[str, Any] = {"attempt": 1, "token": "t", "worker": "w", "lease_s": LEASE_S} | fields
    return store.claim(job, stage, shard, values.pop("attempt"), **values)


def finish(store: JobStore, job: str, shard: int = 0, *, stage: str = "write", token: str = "t", **counts: int) -> bool:
    """Records a shard of a writing stage as done."""
    plan = store.plan(job)
    assert plan is not None
    contract = CONTRACTS[plan.stage(stage).task]
    fact = ShardFinished(name=contract.event, job_id=job, stage=stage, shard=shard, attempt=1, outputs={})
    return store.finish(fact, WrittenCounts.model_validate({"written": 2} | counts), token=token)


def job_events(store: JobStore, job: str, name: str | None = None) -> list[Event]:
    """A job's facts, by name where one is given."""
    return [event for event in JobEvents(store.client, store.prefix, job).all() if name in (None, event.name)]


def snapshot(store: JobStore, job: str) -> dict[str, Any]:
    """Everything the store holds of a job, and the leases: equal before and after where nothing changed."""
    found: dict[str, Any] = {"leases": store.client.zrange(f"{store.prefix}leases", 0, -1)}
    for key in sorted(store.client.scan_iter(f"{store.prefix}job:{job}*")):
        kind = store.client.type(key)
        read = {
            "hash": store.client.hgetall,
            "set": lambda name: sorted(store.client.smembers(name)),
            "zset": lambda name: store.client.zrange(name, 0, -1),
            "list": lambda name: store.client.lrange(name, 0, -1),
            "stream": store.client.xlen,
        }[kind]
        found[key] = read(key)
    return found
