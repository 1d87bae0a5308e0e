"""A job's life: submitted once, cancelled, retried, ended once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shared.contracts.base import Queue
from shared.contracts.spec import SynthesisSpec
from shared.errors import ConflictError, NotFoundError
from shared.jobs.plan import JobPlan
from shared.jobs.state import ErrorInfo, JobStatus, ShardState
from shared.jobs.store import JobStore
from tests.unit.jobs.helpers import add_job, building, claim, finish, job_events, snapshot, twin, writing
from tests.unit.jobs.test_settling import NEVER, state_of

SPEC = SynthesisSpec(kind="synthesis", name="mine")


def test_a_key_makes_one_job(store: JobStore, module_redis_url: str) -> None:
    barrier = Barrier(8)

    def submit(_: int) -> tuple[str, bool]:
        mine = twin(store, module_redis_url)
        barrier.wait()
        job, new = mine.submit(SPEC, idempotency_key="k1", request_id="r1")
        return job, new

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(submit, range(8)))
    assert len({job for job, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1
    assert store.job_ids() == store.active() == [answers[0][0]]
    job = store.job(answers[0][0])
    assert (job.status, job.kind, job.name, job.request_id) == (JobStatus.QUEUED, "synthesis", "mine", "r1")
    assert SynthesisSpec.model_validate(job.spec) == SPEC


def test_a_key_with_another_body_is_a_conflict(store: JobStore) -> None:
    first, _ = store.submit(SPEC, idempotency_key="k")
    with pytest.raises(ConflictError, match=first) as caught:
        store.submit(SPEC.model_copy(update={"seed": 8}), idempotency_key="k")
    assert caught.value.code == "idempotency_mismatch"
    assert store.job_ids() == [first]
    assert store.submit(SPEC)[1] and store.submit(SPEC)[1], "without a key every submission is a job"


def test_newest_first(store: JobStore) -> None:
    ids = [store.submit(SPEC)[0] for _ in range(3)]
    assert store.job_ids() == ids[::-1]


def test_unknown_jobs_are_named(store: JobStore) -> None:
    for step in (store.job, store.cancel, store.retry):
        with pytest.raises(NotFoundError, match="no job nobody"):
            step("nobody")


def test_cancel_settles_what_waits_and_tells_what_runs(store: JobStore) -> None:
    job = add_job(store, writing(4), building())
    store.take(Queue.SYNTHESIS, 2)
    claim(store, job, 0)
    assert store.cancel(job) == "cancelling"
    assert store.cancel(job) == "cancelling"
    assert len(job_events(store, job, "job.cancelling")) == 1
    states = [row.state for row in store.shards(job, "write")]
    assert states == [ShardState.RUNNING, *[ShardState.CANCELLED] * 3]
    assert store.in_flight(Queue.SYNTHESIS) == (0, 1)
    assert claim(store, job, 1) == "gone"
    assert store.take(Queue.SYNTHESIS, 9) == []
    assert store.add_shards(job, "build", {0: {}}) == 0
    assert store.hand_back(job, "write", 0, token="t", cancelled=True)
    state = state_of(store, job)
    assert (state.cancelled, state.running, state.queued) == (4, 0, 0)
    assert store.end(job, "cancelled")
    assert store.cancel(job) == "cancelled", "a terminal job stays what it is"


def test_a_stage_of_a_cancelled_job_is_not_closed(store: JobStore) -> None:
    """Closed without its rows, it would count as finished after a retry."""
    job = add_job(store, writing(1), building())
    store.cancel(job)
    assert store.add_shards(job, "build", {0: {}}) == 0
    store.close_stage(job, "build")
    assert not state_of(store, job, "build").closed


def test_a_running_shard_keeps_a_job_from_ending_as_cancelled(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    store.cancel(job)
    assert not store.end(job, "cancelled")
    store.hand_back(job, "write", 0, token="t", cancelled=True)
    assert store.end(job, "cancelled")


def test_a_worker_lost_in_a_cancelled_job_is_cancelled_by_the_reaper(store: JobStore) -> None:
    job = add_job(store, writing(2))
    claim(store, job, 0, lease_s=0.0)
    claim(store, job, 1)
    store.fail(job, "write", 1, token="t", error=ErrorInfo(code="x", message="m", retryable=True), pause_s=0)
    store.cancel(job)
    assert len(store.reap()) == 2
    assert {row.state for row in store.shards(job, "write")} == {ShardState.CANCELLED}


def test_work_that_ends_well_while_cancelling_counts_as_done(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    store.cancel(job)
    assert finish(store, job)
    assert store.shard(job, "write", 0).state is ShardState.DONE


def test_retry_runs_only_what_failed_in_a_new_epoch(store: JobStore) -> None:
    job = add_job(store, writing(3))
    for shard in range(3):
        claim(store, job, shard)
    finish(store, job, 0)
    store.fail(job, "write", 1, token="t", error=NEVER, pause_s=0)
    store.hand_back(job, "write", 2, token="t")
    assert store.end(job, "failed", NEVER)
    assert store.job(job).error == NEVER
    assert claim(store, job, 2) == "cancelled"
    assert store.retry(job) == "running"
    record = store.job(job)
    assert (record.status, record.epoch, record.error, record.finished_at) == (JobStatus.RUNNING, 2, None, None)
    assert store.active() == [job]
    rows = list(store.shards(job, "write"))
    assert [row.state for row in rows] == [ShardState.DONE, ShardState.QUEUED, ShardState.QUEUED]
    assert [row.attempt for row in rows] == [1, 2, 2]
    assert rows[1].error is None
    assert {shard for _, _, shard in store.take(Queue.SYNTHESIS, 9)} == {1, 2}
    assert claim(store, job, 1, attempt=1) == "gone"
    state = state_of(store, job)
    assert (state.done, state.queued, state.failed, state.cancelled) == (1, 2, 0, 0)


def test_a_retried_shard_has_all_its_attempts_again(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    store.fail(job, "write", 0, token="t", error=NEVER, pause_s=0)
    store.end(job, "failed", NEVER)
    store.retry(job)
    again = NEVER.model_copy(update={"retryable": True})
    for attempt in (2, 3, 4):
        assert claim(store, job, attempt=attempt) == "ok"
        store.fail(job, "write", 0, token="t", error=again, pause_s=0)
        store.reap()
    assert store.shard(job, "write", 0).state is ShardState.FAILED
    assert claim(store, job, attempt=5) == "gone"


def test_only_a_failed_or_cancelled_job_can_be_retried(store: JobStore) -> None:
    job = add_job(store, writing(1))
    before = snapshot(store, job)
    with pytest.raises(ConflictError, match="queued"):
        store.retry(job)
    assert snapshot(store, job) == before
    claim(store, job)
    with pytest.raises(ConflictError, match="running"):
        store.retry(job)
    finish(store, job)
    store.end(job, "succeeded")
    with pytest.raises(ConflictError, match="succeeded"):
        store.retry(job)


def test_a_shard_told_to_cancel_is_not_lost_when_its_job_was_retried_meanwhile(store: JobStore) -> None:
    job = add_job(store, writing(2))
    claim(store, job, 0, token="a")
    claim(store, job, 1, token="b")
    store.fail(job, "write", 1, token="b", error=NEVER, pause_s=0)
    store.end(job, "failed", NEVER)
    assert store.renew(job, "write", 0, token="a", worker="w", lease_s=9) == "cancelling"
    store.retry(job)
    assert store.hand_back(job, "write", 0, token="a", cancelled=True)
    row = store.shard(job, "write", 0)
    assert (row.state, row.attempt) == (ShardState.QUEUED, 1)
    assert (job, "write", 0) in store.take(Queue.SYNTHESIS, 9)


def test_a_job_ends_once(store: JobStore) -> None:
    job = add_job(store, writing(1))
    assert store.end(job, "failed", NEVER)
    before = snapshot(store, job)
    assert not store.end(job, "succeeded")
    assert not store.end(job, "failed", ErrorInfo(code="other", message="other"))
    assert snapshot(store, job) == before
    assert store.active() == []
    assert [event.name for event in job_events(store, job)][-1] == "job.failed"
    assert job_events(store, job)[-1].data["code"] == "bad_data"


def test_a_plan_is_stored_once(store: JobStore) -> None:
    job = add_job(store, writing(2))
    before = snapshot(store, job)
    store.set_plan(job, JobPlan(stages=[writing(9), building()]))
    assert snapshot(store, job) == before
    plan = store.plan(job)
    assert plan is not None and [stage.id for stage in plan.stages] == ["write"]
