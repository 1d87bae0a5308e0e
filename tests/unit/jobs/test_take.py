"""What goes out: turns between jobs, lost messages sent again, devices leased by name."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from shared.contracts.base import Counts, Queue, ShardFinished
from shared.contracts.serving import DeployedCounts, ReleasedCounts
from shared.contracts.training import TrainedCounts
from shared.jobs.plan import DeviceLease, EachShard, FixedShards, StagePlan
from shared.jobs.state import ErrorInfo, ShardState
from shared.jobs.store import JobStore
from tests.unit.jobs.helpers import add_job, building, claim, finish, on_device, twin, writing

SHARD = DeviceLease(name="cpu:0", hold="shard")
HELD = DeviceLease(name="cpu:0", hold="job")


def training(stage: str = "sft") -> StagePlan:
    return on_device(stage, "training.train_model", SHARD)


def done(store: JobStore, job: str, stage: str) -> None:
    """Claims and finishes the only shard of a device's stage."""
    plan = store.plan(job)
    assert plan is not None
    task = plan.stage(stage).task
    counts: dict[str, Counts] = {
        "training.train_model": TrainedCounts(rows=1, steps=1),
        "serving.deploy_model": DeployedCounts(deployed=1),
        "serving.release": ReleasedCounts(released=1),
    }
    assert claim(store, job, stage=stage) == "ok"
    fact = ShardFinished(name="some.fact", job_id=job, stage=stage, shard=0, attempt=1, outputs={})
    assert store.finish(fact, counts[task], token="t")


def test_jobs_take_turns(store: JobStore) -> None:
    large, small = add_job(store, writing(50)), add_job(store, writing(2))
    taken = store.take(Queue.SYNTHESIS, 6)
    assert [job for job, _, _ in taken] == [large, small, large, small, large, large]
    assert [shard for job, _, shard in taken if job == large] == [0, 1, 2, 3]
    late = add_job(store, writing(1))
    assert late in {job for job, _, _ in store.take(Queue.SYNTHESIS, 2)}


def test_nothing_is_taken_twice_by_two_dispatchers(store: JobStore, module_redis_url: str) -> None:
    job, barrier = add_job(store, writing(60)), Barrier(2)

    def take(_: int) -> list[tuple[str, str, int]]:
        mine = twin(store, module_redis_url)
        barrier.wait()
        return [row for _ in range(20) for row in mine.take(Queue.SYNTHESIS, 2)]

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(take, range(2))
    assert sorted(first + second) == [(job, "write", shard) for shard in range(60)]
    assert store.in_flight(Queue.SYNTHESIS) == (60, 0)


def test_take_stops_at_most_and_in_flight_follows(store: JobStore) -> None:
    job = add_job(store, writing(5))
    assert len(store.take(Queue.SYNTHESIS, 3)) == 3
    assert store.in_flight(Queue.SYNTHESIS) == (3, 0)
    claim(store, job, 0)
    assert store.in_flight(Queue.SYNTHESIS) == (2, 1)
    finish(store, job, 0)
    assert store.in_flight(Queue.SYNTHESIS) == (2, 0)
    assert store.take(Queue.SANDBOX, 5) == []


def test_a_message_that_vanished_goes_out_again_at_the_same_attempt(store: JobStore) -> None:
    job = add_job(store, writing(3))
    assert len(store.take(Queue.SYNTHESIS, 2)) == 2
    claim(store, job, 1)
    assert store.resend(Queue.SYNTHESIS, 0.3) == 0
    time.sleep(0.35)
    assert store.resend(Queue.SYNTHESIS, 0.3) == 1
    assert store.take(Queue.SYNTHESIS, 5) == [(job, "write", 0), (job, "write", 2)]
    assert store.shard(job, "write", 0).attempt == 1


def test_rows_that_follow_go_ahead_of_rows_that_begin(store: JobStore) -> None:
    verify = StagePlan(
        id="verify", task="sandbox.verify_examples", source=EachShard(stage="build", fields={"written": "written"})
    )
    other = StagePlan(id="other", task="sandbox.build_database", source=FixedShards(shards=[{"written": {}}] * 3))
    job = add_job(store, writing(1), building(), verify, other)
    store.add_shards(job, "verify", {0: {}})
    assert store.take(Queue.SANDBOX, 2) == [(job, "verify", 0), (job, "other", 0)]


def test_a_device_held_for_a_shard_is_freed_with_it(store: JobStore) -> None:
    first, second = add_job(store, training()), add_job(store, training())
    assert store.take(Queue.TRAINING, 4) == [(first, "sft", 0)]
    assert store.take(Queue.TRAINING, 4) == []
    done(store, first, "sft")
    assert store.take(Queue.TRAINING, 4) == [(second, "sft", 0)]


def test_failure_pause_and_lost_lease_free_a_shards_device(store: JobStore) -> None:
    first, second = add_job(store, training()), add_job(store, training())
    assert store.take(Queue.TRAINING, 4) == [(first, "sft", 0)]
    claim(store, first, stage="sft", lease_s=0.02)
    time.sleep(0.05)
    assert store.reap() == [f"{first}|sft|0"]
    assert store.take(Queue.TRAINING, 4) == [(second, "sft", 0)]
    claim(store, second, stage="sft")
    error = ErrorInfo(code="x", message="again", retryable=True)
    assert store.fail(second, "sft", 0, token="t", error=error, pause_s=60)
    assert store.take(Queue.TRAINING, 4) == [(first, "sft", 0)]
    claim(store, first, stage="sft", attempt=2)
    assert store.hand_back(first, "sft", 0, token="t")
    assert store.take(Queue.TRAINING, 4) == [(first, "sft", 0)]


def test_the_reaper_frees_no_device_that_another_holds_by_now(store: JobStore) -> None:
    first, second = add_job(store, training()), add_job(store, training())
    store.take(Queue.TRAINING, 1)
    claim(store, first, stage="sft")
    store.fail(first, "sft", 0, token="t", error=ErrorInfo(code="x", message="again", retryable=True), pause_s=0)
    assert store.take(Queue.TRAINING, 1) == [(second, "sft", 0)]
    claim(store, second, stage="sft")
    store.reap()
    assert store.take(Queue.TRAINING, 1) == [], "the device is the second job's"


def test_a_device_held_for_the_job_stays_until_it_is_released(store: JobStore) -> None:
    deploy = on_device("deploy", "serving.deploy_model", HELD, model="m", base="b", adapter=True)
    release = on_device("release", "serving.release", HELD, frees="cpu:0")
    first, second = add_job(store, deploy, training(), release), add_job(store, training())
    assert store.take(Queue.SERVING, 1) == [(first, "deploy", 0)]
    assert store.take(Queue.TRAINING, 4) == [], "not even the job's own training: the engine is still there"
    done(store, first, "deploy")
    assert store.take(Queue.TRAINING, 4) == []
    assert store.take(Queue.SERVING, 4) == [(first, "release", 0)]
    done(store, first, "release")
    assert [job for job, _, _ in store.take(Queue.TRAINING, 4)] == [first]
    done(store, first, "sft")
    assert [job for job, _, _ in store.take(Queue.TRAINING, 4)] == [second]


def test_the_end_of_a_job_frees_its_device(store: JobStore) -> None:
    deploy = on_device("deploy", "serving.deploy_model", HELD, model="m", base="b", adapter=True)
    first, second = add_job(store, deploy), add_job(store, training())
    assert store.take(Queue.SERVING, 1) == [(first, "deploy", 0)]
    done(store, first, "deploy")
    assert store.take(Queue.TRAINING, 1) == []
    assert store.end(first, "succeeded")
    assert store.take(Queue.TRAINING, 1) == [(second, "sft", 0)]


def test_a_job_that_waits_for_a_device_blocks_no_other(store: JobStore) -> None:
    other = on_device("sft", "training.train_model", DeviceLease(name="gpu:1", hold="shard"))
    first, second, third = (add_job(store, stage) for stage in (training(), training(), other))
    assert {job for job, _, _ in store.take(Queue.TRAINING, 9)} == {first, third}
    assert store.shard(second, "sft", 0).state is ShardState.QUEUED
