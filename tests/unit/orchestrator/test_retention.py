"""Retention on a real server and a real folder: what is old goes, what is named stays, a dry run changes nothing."""

import time
from pathlib import Path

import pytest

from services.orchestrator.archive import archive_job
from services.orchestrator.retention import DAY_S, Retention
from services.orchestrator.settings import NEVER, RetentionSettings
from shared.contracts.base import ObjectRef, ShardFinished
from shared.contracts.synthesis import WrittenCounts
from shared.errors import NotFoundError
from shared.jobs.events import EventReader
from shared.jobs.reading import read_archived_job, read_archived_shards
from shared.jobs.state import ErrorInfo
from shared.jobs.store import JobStore
from shared.storage.directory import DirectoryStore
from shared.storage.keys import checkpoint_key, export_key, shard_key
from tests.unit.jobs.conftest import module_redis_url, store
from tests.unit.jobs.helpers import LEASE_S, add_job, building, snapshot, writing

__all__ = ["module_redis_url", "store"]
LATE = time.time() + 8 * DAY_S


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects")


def put(objects: DirectoryStore, key: str) -> ObjectRef:
    return objects.put(key, key.encode())


def ended_job(store: JobStore, objects: DirectoryStore, *, fail: bool = False, archive: bool = True) -> str:
    """Two shards: the first was finished by its second attempt, the second by its first, or not at all."""
    job = add_job(store, writing(2))
    for shard in (0, 1):
        attempt = 2 if shard == 0 else 1
        put(objects, shard_key(job, "write", shard, 1, "written.jsonl"))
        ref = put(objects, shard_key(job, "write", shard, attempt, "written.jsonl"))
        store.client.hset(store.key("job", job, "row", "write", str(shard)), "attempt", attempt)
        assert store.claim(job, "write", shard, attempt, token="t", worker="w", lease_s=LEASE_S) == "ok"
        if fail and shard == 1:
            assert store.fail(job, "write", 1, token="t", error=ErrorInfo(code="boom", message="no"), pause_s=0)
            continue
        fact = ShardFinished(
            name="examples.written", job_id=job, stage="write", shard=shard, attempt=attempt, outputs={"written": ref}
        )
        assert store.finish(fact, WrittenCounts(written=2), token="t")
    for step in (10, 20, 100):
        put(objects, checkpoint_key(job, "write", step, "weights/a.safetensors"))
    put(objects, export_key(job, "write", "examples.jsonl"))
    put(objects, shard_key(job, "unknown", 0, 1, "written.jsonl"))
    store.end(job, "failed" if fail else "succeeded")
    if archive:
        archived(store, objects, job)
    return job


def archived(store: JobStore, objects: DirectoryStore, job: str) -> None:
    seen = store.stale()[job]
    archive_job(store, objects, job, store.plan(job))
    assert store.archived(job, seen)


def retain(
    store: JobStore, objects: DirectoryStore, *, now: float = LATE, dry: bool = False, **days: float
) -> list[str]:
    settings = RetentionSettings.model_validate(days)
    return [f"{one.kind} {one.what}" for one in Retention(store, objects, settings).run(dry_run=dry, now=now)]


def keys_of(store: JobStore, job: str) -> list[str]:
    return sorted(store.client.scan_iter(f"{store.prefix}*{job}*"))


def test_a_job_leaves_redis_and_is_read_from_its_archive(store: JobStore, objects: DirectoryStore) -> None:
    job = ended_job(store, objects)
    other = add_job(store, writing(1))
    before = snapshot(store, other)
    retain(store, objects)
    left = [key for key in keys_of(store, job) if ":pending:" not in key]
    assert left == [] and job not in store.job_ids()
    with pytest.raises(NotFoundError):
        store.job(job)
    assert read_archived_job(objects, job).job.status == "succeeded"
    assert [row.attempt for row in read_archived_shards(objects, job)] == [2, 1]
    assert snapshot(store, other) == before
    assert store.client.smembers(store.key("leaving")) == set()


def test_orphans_and_all_checkpoints_but_the_last_go(store: JobStore, objects: DirectoryStore) -> None:
    job = ended_job(store, objects)
    before = set(objects.list(""))
    other = [
        "models/m/manifest.json",
        "datasets/d/1/a.jsonl",
        "answers/a.json",
        "databases/x.sqlite",
        "jobs/running/s/0.1.a",
    ]
    for key in other:
        put(objects, key)
    retain(store, objects, rows_days=NEVER)
    gone = {shard_key(job, "write", 0, 1, "written.jsonl")}
    gone |= {checkpoint_key(job, "write", step, "weights/a.safetensors") for step in (10, 20)}
    assert set(objects.list("")) == (before - gone) | set(other)
    assert job in store.job_ids()


def test_a_dry_run_names_the_same_and_changes_nothing(store: JobStore, objects: DirectoryStore) -> None:
    job = ended_job(store, objects)
    before, files = snapshot(store, job), list(objects.list(""))
    named = retain(store, objects, dry=True)
    assert (snapshot(store, job), list(objects.list(""))) == (before, files)
    assert named == retain(store, objects)
    assert [line.split()[0] for line in named if "events" not in line] == ["orphan", "checkpoint", "checkpoint", "rows"]


@pytest.mark.parametrize("age_days", [0.0, 6.9])
def test_what_is_young_stays(store: JobStore, objects: DirectoryStore, age_days: float) -> None:
    job = ended_job(store, objects)
    before = snapshot(store, job)
    assert retain(store, objects, now=time.time() + age_days * DAY_S, events_days=NEVER) == []
    assert snapshot(store, job) == before


def test_never_means_never(store: JobStore, objects: DirectoryStore) -> None:
    ended_job(store, objects)
    never = dict.fromkeys(("rows_days", "orphans_days", "checkpoints_days", "events_days"), NEVER)
    assert retain(store, objects, now=LATE * 2, **never) == []


def test_what_is_not_archived_or_not_over_stays(store: JobStore, objects: DirectoryStore) -> None:
    fresh = ended_job(store, objects, archive=False)
    running = add_job(store, writing(1), building())
    before = snapshot(store, fresh), snapshot(store, running)
    assert [line for line in retain(store, objects) if fresh in line or running in line] == []
    assert (snapshot(store, fresh), snapshot(store, running)) == before


def test_a_retried_job_is_left_alone_and_swept_again_after_its_second_end(
    store: JobStore, objects: DirectoryStore
) -> None:
    job = ended_job(store, objects, fail=True)
    retain(store, objects, rows_days=NEVER)
    assert not objects.exists(shard_key(job, "write", 1, 1, "written.jsonl"))
    assert retain(store, objects, rows_days=NEVER, events_days=NEVER) == [], "swept once an ending"
    store.retry(job)
    assert retain(store, objects, events_days=NEVER) == []
    put(objects, shard_key(job, "write", 1, 2, "written.jsonl"))
    store.end(job, "failed")
    archived(store, objects, job)
    assert f"orphan {shard_key(job, 'write', 1, 2, 'written.jsonl')}" in retain(store, objects)
    assert job not in store.job_ids()


def test_an_attempt_that_is_newer_than_the_archive_stays(store: JobStore, objects: DirectoryStore) -> None:
    job = ended_job(store, objects, fail=True)
    newer = put(objects, shard_key(job, "write", 1, 2, "written.jsonl")).key
    retain(store, objects, rows_days=NEVER)
    assert objects.exists(newer)


def test_a_removal_that_was_broken_off_goes_on(store: JobStore, objects: DirectoryStore) -> None:
    job = ended_job(store, objects)
    assert store.steps.run("forget", job, 1) == 1
    assert keys_of(store, job) != []
    retain(store, objects)
    assert [key for key in keys_of(store, job) if ":pending:" not in key] == []


def test_late_words_about_a_job_that_left_make_no_keys(store: JobStore, objects: DirectoryStore) -> None:
    job = ended_job(store, objects)
    retain(store, objects)
    assert store.claim(job, "write", 0, 2, token="x", worker="w", lease_s=LEASE_S) == "gone"
    assert store.renew(job, "write", 0, token="x", worker="w", lease_s=LEASE_S) == "lost"
    assert [key for key in keys_of(store, job) if ":pending:" not in key] == []


def test_facts_that_were_read_go_and_unread_ones_stay(store: JobStore, objects: DirectoryStore) -> None:
    reader = EventReader(store.client, store.prefix, "one")
    reader.open()
    add_job(store, writing(1))
    read = reader.read(block_ms=10, most=1)
    reader.acknowledge(read)
    before = store.client.xlen(store.key("events"))
    assert before >= 2
    retain(store, objects)
    assert store.client.xlen(store.key("events")) == before, "the last read one is kept, the unread ones of course"
    reader.acknowledge(reader.read(block_ms=10))
    retain(store, objects)
    assert store.client.xlen(store.key("events")) == 1
