"""Who may work on a shard, and how long: claims, renewals, lost leases."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shared.contracts.base import Queue
from shared.errors import NotFoundError
from shared.jobs.state import ErrorInfo, JobStatus, ShardState
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from tests.unit.jobs.helpers import (
    LEASE_S,
    SHORT_S,
    add_job,
    building,
    claim,
    finish,
    job_events,
    open_jobs,
    snapshot,
    twin,
    writing,
)


def test_of_eight_threads_one_claims(store: JobStore, module_redis_url: str) -> None:
    job, barrier = add_job(store, writing(3)), Barrier(8)

    def race(number: int) -> list[str]:
        mine = twin(store, module_redis_url)
        barrier.wait()
        return [claim(mine, job, shard, token=f"t{number}", worker=f"w{number}") for shard in range(3)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(race, range(8)))
    for shard in range(3):
        won = [number for number, given in enumerate(answers) if given[shard] == "ok"]
        assert len(won) == 1
        assert store.shard(job, "write", shard).worker == f"w{won[0]}"
        assert {given[shard] for given in answers} == {"ok", "gone"}
    state = store.stage_states(job, store.plan(job) or pytest.fail())["write"]
    assert (state.queued, state.running) == (0, 3)
    assert store.job(job).status is JobStatus.RUNNING
    assert len(job_events(store, job, "job.running")) == 1


@pytest.mark.parametrize("attempt", [0, 2, 11])
def test_a_wrong_attempt_claims_nothing(store: JobStore, attempt: int) -> None:
    job = add_job(store, writing(1))
    before = snapshot(store, job)
    assert claim(store, job, attempt=attempt) == "gone"
    assert snapshot(store, job) == before


def test_what_does_not_exist_cannot_be_claimed(store: JobStore) -> None:
    job = add_job(store, writing(1))
    assert claim(store, job, 7) == "gone"
    assert claim(store, job, stage="nothing") == "gone"
    assert claim(store, "nobody") == "gone"
    with pytest.raises(NotFoundError, match="shard write/7"):
        store.shard(job, "write", 7)


@pytest.mark.parametrize("end", ["done", "failed"])
def test_a_settled_row_cannot_be_claimed(store: JobStore, end: str) -> None:
    job = add_job(store, writing(1))
    assert claim(store, job) == "ok"
    if end == "done":
        assert finish(store, job)
    else:
        assert store.fail(job, "write", 0, token="t", error=ErrorInfo(code="x", message="no"), pause_s=0)
    before = snapshot(store, job)
    assert claim(store, job, token="other") == "gone"
    assert snapshot(store, job) == before


def test_a_row_of_a_job_that_failed_is_cancelled_at_its_claim(store: JobStore) -> None:
    job = add_job(store, writing(2))
    assert store.end(job, "failed")
    assert claim(store, job) == "cancelled"
    assert store.shard(job, "write", 0).state is ShardState.CANCELLED
    assert claim(store, job) == "gone"
    assert len(job_events(store, job, "shard.cancelled")) == 1


def test_renew_answers_ok_then_cancelling(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    assert store.renew(job, "write", 0, token="t", worker="w", lease_s=LEASE_S) == "ok"
    assert store.cancel(job) == "cancelling"
    assert store.renew(job, "write", 0, token="t", worker="w", lease_s=LEASE_S) == "cancelling"


def test_renew_tells_a_draining_worker_and_no_other(store: JobStore) -> None:
    job = add_job(store, writing(2))
    claim(store, job, 0, worker="host:1", token="a")
    claim(store, job, 1, worker="host:2", token="b")
    WorkerRegistry(store.client, store.prefix).drain(Queue.SYNTHESIS, "host:1")
    assert store.renew(job, "write", 0, token="a", worker="host:1", lease_s=LEASE_S) == "draining"
    assert store.renew(job, "write", 1, token="b", worker="host:2", lease_s=LEASE_S) == "ok"


def test_renew_keeps_a_short_lease_and_silence_loses_it(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job, lease_s=SHORT_S)
    for _ in range(4):
        time.sleep(SHORT_S / 2)
        assert store.renew(job, "write", 0, token="t", worker="w", lease_s=SHORT_S) == "ok"
        assert store.reap() == []
    time.sleep(SHORT_S + 0.1)
    assert store.reap() == [f"{job}|write|0"]
    assert store.renew(job, "write", 0, token="t", worker="w", lease_s=SHORT_S) == "lost"


def test_a_stranger_cannot_renew(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    before = snapshot(store, job)
    assert store.renew(job, "write", 0, token="other", worker="w", lease_s=LEASE_S) == "lost"
    assert store.renew(job, "write", 0, token="", worker="w", lease_s=LEASE_S) == "lost"
    assert snapshot(store, job) == before


def test_a_lost_lease_settles_nothing(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job, token="old", lease_s=0.05)
    time.sleep(0.1)
    store.reap()
    assert claim(store, job, attempt=2, token="new") == "ok"
    before = snapshot(store, job)
    assert not finish(store, job, token="old")
    assert not store.fail(job, "write", 0, token="old", error=ErrorInfo(code="x", message="no"), pause_s=0)
    assert not store.hand_back(job, "write", 0, token="old")
    assert snapshot(store, job) == before
    assert finish(store, job, token="new")


def test_the_board_counts_living_slots(module_redis_url: str) -> None:
    store = open_jobs(module_redis_url)
    board = WorkerRegistry(store.client, store.prefix)
    board.beat(Queue.SANDBOX, "a:1", 2)
    board.beat(Queue.SANDBOX, "b:1", 3)
    assert board.slots(Queue.SANDBOX) == 5
    board.drain(Queue.SANDBOX, "a:1")
    store.client.zadd(f"{store.prefix}queue:sandbox:seen", {"b:1": 1.0})
    assert board.living() == dict.fromkeys((queue.value for queue in Queue), 0)


def test_rows_of_later_stages_wait_for_their_plan(store: JobStore) -> None:
    job = add_job(store, writing(1), building())
    assert list(store.shards(job, "build")) == []
    assert claim(store, job, stage="build") == "gone"
