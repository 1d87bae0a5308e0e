"""Large jobs: no step walks the rows, callers do not wait for them, and what is broken off goes on."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from shared.contracts.base import Queue
from shared.errors import ConflictError
from shared.jobs import store as store_module
from shared.jobs.finished import FinishedJobs
from shared.jobs.state import ErrorInfo, JobStatus, ShardState
from shared.jobs.store import JobStore
from tests.unit.jobs.helpers import add_job, building, claim, finish, job_events, twin, writing
from tests.unit.jobs.test_settling import NEVER, state_of


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers work on no more than one slice of few rows: the rest is left to others."""
    monkeypatch.setattr(store_module, "AT_ONCE_S", 0.0)
    monkeypatch.setattr(store_module, "SLICE", 4)


def work_off(store: JobStore) -> None:
    while store.client.scard(store.key("settling")) or store.client.scard(store.key("leaving")):
        store.work_off(0.01)


def states(store: JobStore, job: str, stage: str = "write") -> Counter[str]:
    return Counter(row.state.value for row in store.shards(job, stage))


def test_a_cancelled_job_is_nobodys_at_once_and_its_rows_follow(
    store: JobStore, module_redis_url: str, later: None
) -> None:
    job = add_job(store, writing(30), building())
    store.take(Queue.SYNTHESIS, 25)
    claim(store, job, 29)
    assert store.cancel(job) == "cancelling"
    state = state_of(store, job)
    assert (state.queued, state.running, state.cancelled) == (0, 1, 29), "sums say at once what rows will say"
    assert 0 < states(store, job)["queued"] < 29, "the caller was not kept waiting"
    assert claim(store, job, 20) == "cancelled"
    assert store.take(Queue.SYNTHESIS, 9) == [] and store.add_shards(job, "build", {0: {}}) == 0
    assert store.hand_back(job, "write", 29, token="t", cancelled=True)
    assert not store.end(job, "cancelled"), "not before its rows are settled"
    with pytest.raises(ConflictError, match="cancelling"):
        store.retry(job)
    work_off(twin(store, module_redis_url))  # another process, after a crash of the first
    assert states(store, job) == {"cancelled": 30}
    assert store.in_flight(Queue.SYNTHESIS) == (0, 0)
    assert store.end(job, "cancelled")
    assert len(job_events(store, job, "job.cancelling")) == 1


def test_the_orchestrator_is_woken_when_the_rows_are_settled(store: JobStore, later: None) -> None:
    job = add_job(store, writing(30))
    store.cancel(job)
    before = store.client.xlen(store.key("events"))
    work_off(store)
    ((_, fields),) = store.client.xrevrange(store.key("events"), count=1)
    assert (fields["name"], fields["job_id"]) == ("job.settled", job)
    assert store.client.xlen(store.key("events")) == before + 1


def test_a_retried_job_counts_as_waiting_at_once(store: JobStore, later: None) -> None:
    job = add_job(store, writing(20))
    claim(store, job, 0)
    finish(store, job, 0)
    claim(store, job, 1)
    store.fail(job, "write", 1, token="t", error=NEVER, pause_s=0)
    store.end(job, "failed", NEVER)
    assert store.first_failed_shard(job, "write") == store.shard(job, "write", 1)
    assert store.retry(job) == "running"
    state = state_of(store, job)
    assert (state.done, state.queued, state.failed, state.cancelled) == (1, 19, 0, 0)
    taken = store.take(Queue.SYNTHESIS, 99)
    assert 0 < len(taken) < 19, "what is queued already may begin"
    work_off(store)
    taken += store.take(Queue.SYNTHESIS, 99)
    assert sorted(shard for _, _, shard in taken) == list(range(1, 20)), "each once"
    assert {row.attempt for row in store.shards(job, "write") if row.shard} == {2}


def test_a_straggler_that_fails_while_rows_are_requeued_is_not_requeued(store: JobStore, later: None) -> None:
    job = add_job(store, writing(12))
    claim(store, job, 11)
    store.end(job, "failed", NEVER)
    store.retry(job)
    assert store.fail(job, "write", 11, token="t", error=NEVER, pause_s=0)
    work_off(store)
    assert store.shard(job, "write", 11).state is ShardState.FAILED
    assert state_of(store, job).failed == 1


def test_a_large_jobs_archive_waits_for_its_rows(store: JobStore, later: None) -> None:
    job = add_job(store, writing(30))
    store.end(job, "failed", NEVER)
    assert job not in store.stale()
    assert job not in {one.id for one in FinishedJobs(store).all()}, "and it leaves Redis only after that"
    work_off(store)
    assert job in store.stale() and states(store, job) == {"cancelled": 30}


def test_what_is_broken_off_while_a_job_leaves_goes_on(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job = add_job(store, writing(30), building())
    store.steps.run("budget_open", job, "strong", "0")
    store.end(job, "failed", NEVER)
    work_off(store)
    store.archived(job, store.stale()[job])
    (ended,) = FinishedJobs(store).all()
    monkeypatch.setattr("shared.jobs.store.BATCH", 7)
    monkeypatch.setattr("shared.jobs.finished.AT_ONCE_S", 0.0)
    assert FinishedJobs(store).forget(ended)
    assert 0 < len(list(store.client.scan_iter(f"{store.prefix}job:{job}:row:*"))) < 30
    work_off(store)
    assert list(store.client.scan_iter(f"{store.prefix}*{job}*")) == [], "no budget, no list is left either"


def test_lost_facts_are_found_page_by_page(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BATCH", 4)
    monkeypatch.setattr(store_module, "HEALED_PAGES", 2)
    job = add_job(store, writing(30), building())
    for shard in range(30):
        claim(store, job, shard)
        finish(store, job, shard)
    store.add_shards(job, "build", {shard: {} for shard in range(30) if shard not in (2, 17, 29)})
    found: set[int] = set()
    for _ in range(5):
        found |= store.missing(job, "write", "build")
    assert found == {2, 17, 29}


def damage_row(store: JobStore, job: str) -> None:
    store.client.delete(store.key("job", job, "row", "write", "1"))
    store.client.set(store.key("job", job, "row", "write", "1"), "no row")


def damage_stage(store: JobStore, job: str) -> None:
    store.client.hset(store.key("job", job, "stage", "write"), mapping={"queued": "many", "max_attempts": "x"})
    store.client.hdel(store.key("job", job, "stage", "write"), "queue")


def damage_place(store: JobStore, job: str) -> None:
    store.client.hset(store.key("job", job), mapping={"settle": "cancel", "settle_from": "?", "settle_stage": "?"})
    store.client.sadd(store.key("settling"), job)


def damage_nothing_that_exists(store: JobStore, job: str) -> None:
    store.client.sadd(store.key("settling"), "nobody")


@pytest.mark.parametrize("damage", [damage_row, damage_stage, damage_place, damage_nothing_that_exists])
def test_a_damaged_job_can_be_cancelled_and_holds_up_no_other(
    store: JobStore, later: None, damage: Callable[[JobStore, str], None]
) -> None:
    damaged, other = add_job(store, writing(9)), add_job(store, writing(9))
    damage(store, damaged)
    assert store.cancel(damaged) == store.cancel(other) == "cancelling"
    work_off(store)
    assert states(store, other) == {"cancelled": 9}
    assert store.end(damaged, "cancelled") and store.end(other, "cancelled")
    assert set(store.stale()) == {damaged, other}


def commands(store: JobStore, step: Callable[[], Any]) -> int:
    """How many commands the server ran for one call, those inside scripts among them."""
    store.client.config_resetstat()
    step()
    stats = store.client.info("commandstats")
    return sum(one["calls"] for one in stats.values())


@pytest.mark.parametrize("step", ["cancel", "end", "retry", "forget"])
def test_a_step_costs_the_same_in_a_large_job(store: JobStore, step: str) -> None:
    costs = []
    for rows in (20, 2000):
        job = add_job(store, writing(rows))
        if step in ("retry", "forget"):
            store.end(job, "failed", NEVER)
            work_off(store)
            store.archived(job, store.stale()[job])
        arguments = {"cancel": (), "end": ("failed", ""), "retry": (), "forget": (1,)}[step]
        name = {"end": "end_job"}.get(step, step)
        store.steps.run(name, "warm-up", *arguments)
        costs.append(commands(store, lambda: store.steps.run(name, job, *arguments)))  # noqa: B023
        work_off(store)
    assert costs[0] == costs[1]


def test_a_slice_costs_the_same_in_a_large_job(store: JobStore) -> None:
    costs = []
    for rows in (1000, 3000):
        job = add_job(store, writing(rows))
        store.steps.run("cancel", job)
        costs.append(commands(store, lambda: store.steps.run("settle_shards", job, 100)))  # noqa: B023
        work_off(store)
    assert costs[0] == costs[1]


def test_a_take_looks_at_few_jobs_however_many_wait(store: JobStore) -> None:
    """Ten thousand cancelled jobs, or jobs that wait for one device, made a step as long as their number."""
    costs = []
    for jobs in (30, 90):
        for _ in range(jobs):
            store.cancel(add_job(store, writing(1)))
        costs.append(commands(store, lambda: store.steps.run("take", "synthesis", 5, 20)))
    assert costs[0] == costs[1]
    last = add_job(store, writing(1))
    assert [place for _ in range(9) for place in store.take(Queue.SYNTHESIS, 5)] == [(last, "write", 0)]


@pytest.mark.parametrize("seed", range(25))
def test_sums_and_rows_agree_after_any_order_of_steps(store: JobStore, seed: int, later: None) -> None:
    rng, job = random.Random(seed), add_job(store, writing(25))
    again = ErrorInfo(code="x", message="again", retryable=True)
    running: dict[int, str] = {}

    def take_and_claim() -> None:
        for _, _, shard in store.take(Queue.SYNTHESIS, rng.randint(1, 6)):
            token = f"{shard}.{rng.random()}"
            lease = 0.0 if rng.random() < 0.2 else 60.0
            attempt = store.shard(job, "write", shard).attempt
            if rng.random() < 0.8 and claim(store, job, shard, attempt=attempt, token=token, lease_s=lease) == "ok":
                running[shard] = token

    def settle_one() -> None:
        if running:
            shard = rng.choice(list(running))
            token = running.pop(shard)
            ways: list[Callable[[], bool]] = [
                lambda: finish(store, job, shard, token=token),
                lambda: store.fail(job, "write", shard, token=token, error=NEVER, pause_s=0),
                lambda: store.fail(job, "write", shard, token=token, error=again, pause_s=0),
                lambda: store.hand_back(job, "write", shard, token=token, cancelled=rng.random() < 0.5),
            ]
            rng.choice(ways)()

    def retry() -> None:
        if store.job(job).status in (JobStatus.FAILED, JobStatus.CANCELLED):
            store.retry(job)

    steps: list[Callable[[], Any]] = [take_and_claim] * 4 + [settle_one] * 6 + [retry] * 2
    steps += [lambda: store.cancel(job), lambda: store.end(job, "failed", NEVER), lambda: store.end(job, "cancelled")]
    steps += [store.reap, lambda: store.resend(Queue.SYNTHESIS, 0.0), lambda: store.settle_shards(job, 0.0)]
    for _ in range(120):
        rng.choice(steps)()
    work_off(store)
    state, found = state_of(store, job), states(store, job)
    sums = {name: getattr(state, name) for name in ("queued", "running", "done", "failed", "cancelled")}
    assert {name: number for name, number in sums.items() if number} == dict(found)
    if store.job(job).status in (JobStatus.QUEUED, JobStatus.RUNNING):
        store.resend(Queue.SYNTHESIS, -1.0)
        taken = {shard for _, _, shard in store.take(Queue.SYNTHESIS, 99)}
        assert taken == {row.shard for row in store.shards(job, "write") if row.state == "queued"}, "all will run"
