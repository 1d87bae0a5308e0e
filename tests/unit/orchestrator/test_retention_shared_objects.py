"""What goes from the store that is no job's, on both stores: only what can be missed, and nothing that is named."""

import json
import time
from hashlib import sha256

import pytest

from services.orchestrator.archive import archive_job
from services.orchestrator.retention import DAY_S, Retention, usage
from services.orchestrator.settings import NEVER, RetentionSettings
from shared.catalog.databases import Upload, add_upload
from shared.contracts.spec import parse_spec
from shared.jobs.finished import FinishedJobs
from shared.jobs.store import JobStore
from shared.storage.keys import (
    answer_key,
    card_key,
    database_key,
    dataset_key,
    ddl_card_key,
    ddl_database_key,
    model_key,
)
from shared.storage.keys import (
    test_suite_database_key as suite_database_key,
)
from shared.storage.store import ObjectStore
from tests.contract.test_object_store import s3
from tests.contract.test_object_store import store as objects
from tests.unit.jobs.conftest import module_redis_url
from tests.unit.jobs.conftest import store as jobs
from tests.unit.jobs.helpers import add_job, writing

__all__ = ["jobs", "module_redis_url", "objects", "s3"]
A, B, C, D = (sha256(name.encode()).hexdigest() for name in "abcd")


def retain(jobs: JobStore, objects: ObjectStore, days: float, *, dry: bool = False, **settings: float) -> list[str]:
    """What goes `days` from now."""
    chosen = RetentionSettings.model_validate({"events_days": NEVER, **settings})
    found = Retention(jobs, objects, chosen).run(dry_run=dry, now=time.time() + days * DAY_S)
    return [f"{one.kind} {one.what}" for one in found]


def ask(objects: ObjectStore, name: str, size: int = 10) -> None:
    objects.put(ddl_database_key(name), b"x" * size)
    objects.put(ddl_card_key(name), b"{}")


def test_databases_of_questions_go_by_their_last_use(jobs: JobStore, objects: ObjectStore) -> None:
    ask(objects, A)
    objects.put(ddl_database_key(B), b"half of a put")
    objects.put(database_key(C), b"a job's own")
    objects.put(card_key(C), b"{}")
    assert retain(jobs, objects, 6.9) == []
    assert retain(jobs, objects, 7.1, dry=True) == [f"asked database {A}", f"asked database {B}"]
    assert objects.exists(ddl_card_key(A)), "a dry run only says so"
    assert len(retain(jobs, objects, 7.1)) == 2
    assert list(objects.list("")) == [card_key(C), database_key(C)]


def test_the_longest_unused_go_where_all_are_too_large(jobs: JobStore, objects: ObjectStore) -> None:
    for name in (A, B, C):
        ask(objects, name, 1000)
        time.sleep(1.1)  # the store's clock may know whole seconds only
    objects.put(ddl_card_key(A), b"{}")  # used again
    assert retain(jobs, objects, 0, ddl_databases_bytes=2100) == [f"asked database {B}"]
    assert retain(jobs, objects, 0, ddl_databases_bytes=2100) == []
    assert retain(jobs, objects, 99, ddl_databases_bytes=0, ddl_databases_days=NEVER) == []


def test_what_never_became_whole_goes_and_what_is_whole_stays(jobs: JobStore, objects: ObjectStore) -> None:
    for whole in (dataset_key("d", "1", "examples.jsonl"), model_key("m", "weights/w.bin")):
        objects.put(whole, b"1")
    objects.put(dataset_key("d", "1", "manifest.json"), b"no matter what")
    objects.put(model_key("m", "manifest.json"), b"{")
    halves = [dataset_key("d", "2", "examples.jsonl"), model_key("half", "a/b.bin"), model_key("half", "c.bin")]
    for key in halves:
        objects.put(key, b"2")
    assert retain(jobs, objects, 29) == []
    assert retain(jobs, objects, 31) == ["unfinished datasets/d/2", "unfinished models/half"]
    assert len(list(objects.list(""))) == 4


def test_test_suites_go_by_age_and_answers_only_where_set(jobs: JobStore, objects: ObjectStore) -> None:
    objects.put(suite_database_key(A, "s", 0), b"1")
    objects.put(answer_key(B), b"{}")
    assert retain(jobs, objects, 29) == []
    assert retain(jobs, objects, 1000) == [f"test-suite database {suite_database_key(A, 's', 0)}"]
    assert retain(jobs, objects, 100, answers_days=90) == [f"answer {answer_key(B)}"]


def test_answers_stay_while_a_job_lives_that_may_have_bought_them(jobs: JobStore, objects: ObjectStore) -> None:
    job = add_job(jobs, writing(1))
    time.sleep(1.1)
    objects.put(answer_key(B), b"{}")
    assert retain(jobs, objects, 100, answers_days=90) == []
    jobs.end(job, "failed")
    assert retain(jobs, objects, 100, answers_days=90, rows_days=NEVER) == [f"answer {answer_key(B)}"]


def test_an_upload_goes_only_where_nothing_names_it(jobs: JobStore, objects: ObjectStore) -> None:
    for name in (A, B, C, D):
        objects.put(database_key(name), b"x")
        objects.put(card_key(name), b"{}")
        add_upload(objects, Upload(id=name, name="n", size=1, created_at=time.time(), tables=1))
    objects.put(dataset_key("d", "1", "manifest.json"), json.dumps({"databases": {"x": A}}).encode())
    spec = {"kind": "synthesis", "strong": {"endpoint": "e", "model": "m"}, "databases": [{"id": B}]}
    jobs.submit(parse_spec(spec))
    archived, _ = jobs.submit(parse_spec({**spec, "databases": [{"id": C}]}))
    jobs.end(archived, "failed")
    seen = jobs.stale()[archived]
    archive_job(jobs, objects, archived, None)
    jobs.archived(archived, seen)
    (ended,) = FinishedJobs(jobs).all()
    assert FinishedJobs(jobs).forget(ended)
    assert retain(jobs, objects, 1000, orphans_days=NEVER) == [], "by default never"
    assert retain(jobs, objects, 100, uploads_days=90) == [f"upload database {D}"]
    assert not objects.exists(database_key(D)) and objects.exists(database_key(C))
    assert len(list(objects.list("uploads/"))) == 3


def test_one_damaged_archive_or_record_keeps_itself_and_nothing_else(jobs: JobStore, objects: ObjectStore) -> None:
    ended = []
    for _ in range(3):
        job = add_job(jobs, writing(1))
        jobs.end(job, "failed")
        seen = jobs.stale()[job]
        archive_job(jobs, objects, job, jobs.plan(job))
        jobs.archived(job, seen)
        ended.append(job)
    objects.put(f"jobs/{ended[0]}/rows.jsonl", b"\xff no rows\n")
    jobs.client.hset(jobs.key("job", ended[1]), "status", "of tomorrow")
    ask(objects, A)
    objects.put("ddl-databases/what-is-this", b"1")
    went = retain(jobs, objects, 8)
    assert f"rows job {ended[2]}" in went and f"asked database {A}" in went
    assert ended[0] in jobs.job_ids() and ended[1] in jobs.job_ids()


def test_usage_by_kind(objects: ObjectStore) -> None:
    objects.put("jobs/j/a", b"12")
    objects.put("jobs/j/b/c", b"345")
    objects.put("answers/a.json", b"{}")
    assert usage(objects) == {"jobs": (2, 5), "answers": (1, 2)}


def test_settings_stand_as_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_RETENTION_DDL_DATABASES_DAYS", "2")
    assert RetentionSettings().ddl_databases_days == 2
    assert RetentionSettings().uploads_days == RetentionSettings().answers_days == NEVER
