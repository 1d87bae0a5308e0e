"""What a fact's pass reads: counters, and of members only the news; the sweep asks for what nobody told."""

import pytest

from services.orchestrator.advance import AddShards, CloseStage, advance
from shared.errors import NotFoundError
from shared.jobs.store import JobStore
from tests.unit.jobs.helpers import add_job, building, claim, finish, writing


def follow(store: JobStore, job: str, *news: int) -> list[object]:
    plan = store.plan(job)
    assert plan is not None
    status, states = store.look(job, plan, {"write": set(news)})
    return list(advance(plan, status, states))


def finished_job(store: JobStore, shards: int, done: int) -> str:
    job = add_job(store, writing(shards), building())
    for shard in range(done):
        claim(store, job, shard)
        finish(store, job, shard)
    return job


def test_news_become_shards_and_old_news_nothing(store: JobStore) -> None:
    job = finished_job(store, 3, 2)
    assert follow(store, job, 0, 1) == [AddShards("build", {0: {}, 1: {}})]
    store.add_shards(job, "build", {0: {}})
    assert follow(store, job, 0, 1) == [AddShards("build", {1: {}})]
    store.add_shards(job, "build", {1: {}})
    assert follow(store, job, 0, 1) == follow(store, job) == []


def test_a_stage_never_closes_over_a_shard_whose_fact_was_lost(store: JobStore) -> None:
    job = finished_job(store, 3, 3)
    store.add_shards(job, "build", {0: {}})
    assert follow(store, job, 0, 1) == [AddShards("build", {1: {}})], "0 came twice, the fact of 2 was lost"
    store.add_shards(job, "build", {1: {}})
    assert follow(store, job, 0, 1) == []
    assert store.missing(job, "write", "build") == {2}
    assert follow(store, job, *store.missing(job, "write", "build")) == [
        AddShards("build", {2: {}}),
        CloseStage("build"),
    ]


def test_missing_is_bounded(store: JobStore) -> None:
    job = finished_job(store, 5, 5)
    assert len(store.missing(job, "write", "build", most=3)) == 3


def test_looking_at_an_unknown_job_says_so(store: JobStore) -> None:
    job = add_job(store, writing(1))
    plan = store.plan(job)
    assert plan is not None
    with pytest.raises(NotFoundError):
        store.look("unknown", plan, {})


def test_rows_at_keeps_the_order_and_the_gaps(store: JobStore) -> None:
    job = add_job(store, writing(3))
    found = store.shards_at([(job, "write", 2), (job, "write", 9), (job, "write", 0)])
    assert [row.shard if row else None for row in found] == [2, None, 0]
