"""How an attempt ends: done with one fact, failed, tried again by the reaper alone, handed back uncounted."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shared.contracts.base import ObjectRef, Queue, ShardFinished
from shared.contracts.synthesis import WrittenCounts
from shared.jobs.plan import JobPlan
from shared.jobs.state import ErrorInfo, ShardState, StageState
from shared.jobs.store import JobStore
from tests.unit.jobs.helpers import add_job, building, claim, finish, job_events, snapshot, twin, writing

AGAIN = ErrorInfo(code="unavailable", message="the endpoint did not answer", retryable=True)
NEVER = ErrorInfo(code="bad_data", message="the rows have another shape")


def state_of(store: JobStore, job: str, stage: str = "write") -> StageState:
    plan = store.plan(job)
    assert isinstance(plan, JobPlan)
    return store.stage_states(job, plan)[stage]


def test_finish_leaves_one_fact_and_adds_to_the_sums(store: JobStore) -> None:
    job = add_job(store, writing(3))
    ref = ObjectRef(key=f"jobs/{job}/write/1.1.written.jsonl", sha256="a" * 64, size=12)
    for shard in (1, 0):
        claim(store, job, shard)
        fact = ShardFinished(
            name="examples.written", job_id=job, stage="write", shard=shard, attempt=1, outputs={"written": ref}
        )
        counts = WrittenCounts(written=5 + shard, unparsed=shard, micro_usd=1_000_000_007)
        assert store.finish(fact, counts, token="t")
        assert not store.finish(fact, counts, token="t"), "a second finish has no lease"
    state = state_of(store, job)
    assert (state.total, state.queued, state.done) == (3, 1, 2)
    assert state.counts["written"] == 11
    assert state.counts["unparsed"] == 1
    assert state.counts["micro_usd"] == 2_000_000_014
    assert (state.existing, state.finished) == (frozenset({0, 1, 2}), frozenset({0, 1}))
    assert state.first_start and state.last_end and state.first_start <= state.last_end
    written = job_events(store, job, "examples.written")
    assert [(event.stage, event.shard) for event in written] == [("write", "1"), ("write", "0")]
    assert written[0].data["outputs"]["written"]["key"] == ref.key
    assert written[0].data["counts"]["written"] == 6
    assert store.outputs(job, "write", "written") == [ref, ref]
    row = store.shard(job, "write", 1)
    assert (row.state, row.outputs, row.counts["written"]) == (ShardState.DONE, {"written": ref}, 6)
    assert row.finished_at is not None


def test_every_fact_is_in_the_common_stream_too(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    finish(store, job)
    entries = store.client.xrange(f"{store.prefix}events")
    names = [fields["name"] for _, fields in entries if fields["job_id"] == job]
    assert names == [event.name for event in job_events(store, job)]
    assert names == ["job.submitted", "stage.closed", "job.running", "examples.written"]


def test_a_failure_for_good_keeps_its_error(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    assert store.fail(job, "write", 0, token="t", error=NEVER, pause_s=0)
    row = store.shard(job, "write", 0)
    assert (row.state, row.attempt, row.error) == (ShardState.FAILED, 1, NEVER)
    assert store.reap() == []
    assert state_of(store, job).failed == 1
    assert job_events(store, job, "shard.failed")[0].data["code"] == "bad_data"


def test_a_retryable_failure_waits_for_the_reaper_and_counts(store: JobStore) -> None:
    job = add_job(store, writing(1))
    claim(store, job)
    assert store.fail(job, "write", 0, token="t", error=AGAIN, pause_s=0.6)
    row = store.shard(job, "write", 0)
    assert (row.state, row.attempt) == (ShardState.RUNNING, 1)
    assert store.reap() == [], "the pause is not over"
    assert claim(store, job, attempt=2) == "gone"
    assert store.renew(job, "write", 0, token="t", worker="w", lease_s=9) == "lost"
    assert store.in_flight(Queue.SYNTHESIS)[1] == 0, "a pause holds no slot"
    time.sleep(0.7)
    assert store.reap() == [f"{job}|write|0"]
    row = store.shard(job, "write", 0)
    assert (row.state, row.attempt, row.error) == (ShardState.QUEUED, 2, AGAIN)
    assert claim(store, job, attempt=2) == "ok"
    assert finish(store, job)
    assert store.shard(job, "write", 0).error is None


def test_after_the_last_attempt_the_row_fails_with_its_last_error(store: JobStore) -> None:
    job = add_job(store, writing(1))
    for attempt in (1, 2, 3):
        assert claim(store, job, attempt=attempt) == "ok"
        error = AGAIN.model_copy(update={"message": f"attempt {attempt}"})
        assert store.fail(job, "write", 0, token="t", error=error, pause_s=0)
        store.reap()
    row = store.shard(job, "write", 0)
    assert (row.state, row.attempt) == (ShardState.FAILED, 3)
    assert row.error is not None and row.error.message == "attempt 3"
    assert [event.name for event in job_events(store, job)][-1] == "shard.failed"
    assert claim(store, job, attempt=4) == "gone"


def test_a_silent_worker_is_counted_too(store: JobStore) -> None:
    job = add_job(store, writing(1))
    for attempt in (1, 2, 3):
        assert claim(store, job, attempt=attempt, lease_s=0.01) == "ok"
        time.sleep(0.03)
        assert len(store.reap()) == 1
    row = store.shard(job, "write", 0)
    assert (row.state, row.error and row.error.code) == (ShardState.FAILED, "lease_expired")


def test_a_shard_handed_back_is_uncounted_and_goes_first(store: JobStore) -> None:
    job = add_job(store, writing(3))
    assert store.take(Queue.SYNTHESIS, 1) == [(job, "write", 0)]
    claim(store, job)
    assert store.hand_back(job, "write", 0, token="t")
    row = store.shard(job, "write", 0)
    assert (row.state, row.attempt, row.error) == (ShardState.QUEUED, 1, None)
    assert store.take(Queue.SYNTHESIS, 3) == [(job, "write", 0), (job, "write", 1), (job, "write", 2)]
    assert claim(store, job, token="next") == "ok"


def test_two_reapers_move_each_row_once(store: JobStore, module_redis_url: str) -> None:
    job, barrier = add_job(store, writing(40)), Barrier(2)
    for shard in range(40):
        claim(store, job, shard, lease_s=0.01)
    time.sleep(0.05)

    def reap(_: int) -> list[str]:
        mine = twin(store, module_redis_url)
        barrier.wait()
        moved: list[str] = []
        while found := mine.reap(most=3):
            moved += found
        return moved

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(reap, range(2))
    assert sorted(first + second) == sorted(f"{job}|write|{shard}" for shard in range(40))
    state = state_of(store, job)
    assert (state.queued, state.running) == (40, 0)
    assert {row.attempt for row in store.shards(job, "write")} == {2}
    assert len(job_events(store, job, "shard.requeued")) == 40


def test_finish_and_reaper_at_once_agree(store: JobStore, module_redis_url: str) -> None:
    job, barrier = add_job(store, writing(30)), Barrier(2)
    for shard in range(30):
        claim(store, job, shard, lease_s=0.01)
    time.sleep(0.03)

    def finish_all() -> int:
        mine = twin(store, module_redis_url)
        barrier.wait()
        return sum(finish(mine, job, shard) for shard in range(30))

    def reap_all() -> int:
        mine = twin(store, module_redis_url)
        barrier.wait()
        return sum(len(mine.reap(most=1)) for _ in range(60))

    with ThreadPoolExecutor(2) as threads:
        done, moved = threads.submit(finish_all), threads.submit(reap_all)
        assert done.result() + moved.result() == 30
    state = state_of(store, job)
    assert (state.done, state.queued, state.running) == (done.result(), moved.result(), 0)
    assert len(job_events(store, job, "examples.written")) == state.done
    assert state.counts.get("written", 0) == 2 * state.done


@pytest.mark.parametrize("how", ["shards", "close"])
def test_added_twice_or_closed_twice_changes_nothing(store: JobStore, how: str) -> None:
    job = add_job(store, writing(2))
    claim(store, job, 0)
    before = snapshot(store, job)
    if how == "shards":
        assert store.add_shards(job, "write", {0: {"count": 9}, 1: {"count": 9}, 5: {"count": 9}}) == 0
    else:
        store.close_stage(job, "write", skipped=True)
    assert snapshot(store, job) == before


def test_an_open_stage_takes_only_what_is_new(store: JobStore) -> None:
    job = add_job(store, writing(2), building())
    assert store.add_shards(job, "build", {1: {"a": 1}}) == 1
    assert store.add_shards(job, "build", {0: {}, 1: {"a": 2}}) == 1
    assert [row.params for row in store.shards(job, "build")] == [{}, {"a": 1}]
    assert state_of(store, job, "build").total == 2
    assert not state_of(store, job, "build").closed
