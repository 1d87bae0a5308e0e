"""The base of every task: how an attempt ends, whatever happens to it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from shared.contracts.base import ObjectRef, Queue, to_json
from shared.contracts.records import Provenance, WrittenExample
from shared.contracts.synthesis import WRITE_EXAMPLES, WriteExamples, WrittenCounts
from shared.errors import InvalidInputError, UnavailableError
from shared.jobs.events import JobEvents
from shared.jobs.state import ShardRecord, ShardState
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.storage.directory import DirectoryStore
from shared.storage.records import read_records
from shared.tasks.task import Shard, TaskResult, refuse_command, register_task, run_shard, worker_id
from tests.unit.jobs.helpers import add_job, claim, job_events, snapshot, writing

ROW = WrittenExample(
    domain="d",
    level="easy",
    question="q?",
    sql="SELECT 1",
    provenance=Provenance(writer="grammar", writer_version="g", seed=1, source="s"),
)
PATIENCE_S = 20.0


def command(job: str, shard: int = 0, attempt: int = 1) -> WriteExamples:
    own: dict[str, Any] = {"job_id": job, "stage": "write", "shard": shard, "attempt": attempt, "correlation_id": "c"}
    more = {"writer": "grammar", "split": "train", "count": 1, "levels": {"easy": 1.0}, "seed": 1}
    return WriteExamples.model_validate(own | more)


def write_one(_: WriteExamples, shard: Shard) -> TaskResult:
    return TaskResult(WrittenCounts(written=1), {"written": shard.write_records("written", [ROW])})


def raising(error: BaseException) -> Callable[[Any, Shard], TaskResult]:
    def work(_: WriteExamples, shard: Shard) -> TaskResult:
        shard.write_records("written", [ROW])
        raise error

    return work


def until_told(before: Callable[[], object]) -> Callable[[Any, Shard], TaskResult]:
    """Work that has `before` happen, and that stops as real work does: children killed, then an error."""

    def work(_: WriteExamples, shard: Shard) -> TaskResult:
        killed = threading.Event()
        shard.on_abort(killed.set)
        before()
        assert shard.abort.wait(PATIENCE_S), "nobody told the work to stop"
        assert killed.wait(PATIENCE_S)
        raise RuntimeError("the child was killed")

    return work


def first_row(jobs: JobStore, job: str) -> ShardRecord:
    return jobs.shard(job, "write", 0)


def test_done_records_outputs_that_can_be_read(jobs: JobStore, tmp_path: Path) -> None:
    job = add_job(jobs, writing(1))
    run_shard(WRITE_EXAMPLES, command(job), write_one)
    row = first_row(jobs, job)
    assert (row.state, row.counts["written"], row.worker) == (ShardState.DONE, 1, worker_id())
    ref = row.outputs["written"]
    assert ref.key == f"jobs/{job}/write/0.1.written.jsonl"
    assert list(read_records(DirectoryStore(tmp_path / "objects"), ref, WrittenExample)) == [ROW]
    assert len(job_events(jobs, job, "examples.written")) == 1


def test_a_duplicate_message_does_nothing(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    run_shard(WRITE_EXAMPLES, command(job), write_one)
    before = snapshot(jobs, job)
    worked: list[int] = []

    def work(_: WriteExamples, shard: Shard) -> TaskResult:
        worked.append(1)
        return write_one(_, shard)

    run_shard(WRITE_EXAMPLES, command(job), work)
    run_shard(WRITE_EXAMPLES, command(job, attempt=2), work)
    run_shard(WRITE_EXAMPLES, command(job, shard=9), work)
    assert worked == []
    assert snapshot(jobs, job) == before


def test_the_users_error_fails_for_good(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    run_shard(WRITE_EXAMPLES, command(job), raising(InvalidInputError("the file is empty; give another")))
    row = first_row(jobs, job)
    assert row.state is ShardState.FAILED
    assert row.error is not None
    assert (row.error.code, row.error.message) == ("invalid_input", "the file is empty; give another")
    assert row.outputs == {}
    assert jobs.reap() == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError("surprise"), "internal_error"), (UnavailableError("the store is away"), "unavailable")],
)
def test_what_may_pass_is_tried_again_by_the_reaper(jobs: JobStore, error: Exception, code: str) -> None:
    job = add_job(jobs, writing(1))
    run_shard(WRITE_EXAMPLES, command(job), raising(error))
    assert first_row(jobs, job).state is ShardState.RUNNING
    assert jobs.reap() == [f"{job}|write|0"]
    row = first_row(jobs, job)
    assert (row.state, row.attempt, row.error and row.error.code) == (ShardState.QUEUED, 2, code)
    run_shard(WRITE_EXAMPLES, command(job, attempt=2), write_one)
    row = first_row(jobs, job)
    assert row.state is ShardState.DONE
    assert row.outputs["written"].key.endswith("/0.2.written.jsonl"), "keys carry the attempt"


def test_a_shard_that_always_breaks_fails_with_its_reason(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    for attempt in (1, 2, 3):
        run_shard(WRITE_EXAMPLES, command(job, attempt=attempt), raising(RuntimeError(f"broken {attempt}")))
        jobs.reap()
    row = first_row(jobs, job)
    assert row.state is ShardState.FAILED
    assert row.error is not None and row.error.message == "RuntimeError: broken 3"


def test_outputs_that_the_contract_does_not_name_are_refused(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    ref = ObjectRef(key="a/b", sha256="0" * 64, size=0)
    run_shard(WRITE_EXAMPLES, command(job), lambda *_: TaskResult(WrittenCounts(written=1), {"surprise": ref}))
    row = first_row(jobs, job)
    assert row.state is ShardState.FAILED
    assert row.error is not None and "surprise" in row.error.message
    assert job_events(jobs, job, "examples.written") == []


def test_a_lost_lease_records_nothing(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    after: list[dict[str, Any]] = []

    def lose() -> None:
        jobs.client.zadd(f"{jobs.prefix}leases", {f"{job}|write|0": 1.0})
        assert jobs.reap() == [f"{job}|write|0"]
        assert claim(jobs, job, attempt=2, token="other", lease_s=60) == "ok"
        after.append(snapshot(jobs, job))

    run_shard(WRITE_EXAMPLES, command(job), until_told(lose))
    assert snapshot(jobs, job) == after[0]
    assert (first_row(jobs, job).attempt, first_row(jobs, job).worker) == (2, "w")


def test_a_result_that_comes_after_the_lease_was_lost_is_thrown_away(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))

    def work(given: WriteExamples, shard: Shard) -> TaskResult:
        jobs.client.zadd(f"{jobs.prefix}leases", {f"{job}|write|0": 1.0})
        jobs.reap()
        return write_one(given, shard)

    run_shard(WRITE_EXAMPLES, command(job), work)
    row = first_row(jobs, job)
    assert (row.state, row.attempt, row.outputs) == (ShardState.QUEUED, 2, {})
    assert job_events(jobs, job, "examples.written") == []


def test_work_learns_of_the_cancellation_and_its_row_follows(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    run_shard(WRITE_EXAMPLES, command(job), until_told(lambda: jobs.cancel(job)))
    assert first_row(jobs, job).state is ShardState.CANCELLED
    assert jobs.client.zcard(f"{jobs.prefix}leases") == 0
    assert [event.name for event in job_events(jobs, job)][-2:] == ["job.cancelling", "shard.cancelled"]


def test_a_draining_worker_hands_its_shard_back_uncounted(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    board = WorkerRegistry(jobs.client, jobs.prefix)
    run_shard(WRITE_EXAMPLES, command(job), until_told(lambda: board.drain(Queue.SYNTHESIS, worker_id())))
    row = first_row(jobs, job)
    assert (row.state, row.attempt, row.error) == (ShardState.QUEUED, 1, None)
    assert jobs.take(Queue.SYNTHESIS, 1) == [(job, "write", 0)]


def test_a_worker_that_is_made_to_exit_hands_back_too(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    with pytest.raises(SystemExit):
        run_shard(WRITE_EXAMPLES, command(job), raising(SystemExit(0)))
    assert (first_row(jobs, job).state, first_row(jobs, job).attempt) == (ShardState.QUEUED, 1)


def test_long_work_keeps_its_lease(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))

    def work(given: WriteExamples, shard: Shard) -> TaskResult:
        for _ in range(6):
            assert not shard.abort.wait(0.25)
            assert jobs.reap() == []
        shard.progress(done=1, total=2)
        return write_one(given, shard)

    run_shard(WRITE_EXAMPLES, command(job), work)
    assert first_row(jobs, job).state is ShardState.DONE
    progress = [event for event in JobEvents(jobs.client, jobs.prefix, job).all() if event.type == "progress"]
    assert [event.data for event in progress] == [{"done": 1, "total": 2}]


@pytest.mark.parametrize(
    "change",
    [{"wish_of_v9": 1}, {"levels": "many"}, {"count": None}, {"writer": 7}],
    ids=["a field of another version", "a wrong type", "nothing where a number is", "a number for a name"],
)
def test_a_command_that_cannot_be_read_uses_up_its_attempts_and_fails_with_the_reason(
    jobs: JobStore, change: dict[str, Any]
) -> None:
    app = Celery("refusing")
    register_task(app, WRITE_EXAMPLES, write_one)
    job = add_job(jobs, writing(2))
    for attempt in (1, 2, 3):
        app.tasks[WRITE_EXAMPLES.name].run({**to_json(command(job, attempt=attempt)), **change})
        jobs.reap()
    row = first_row(jobs, job)
    assert (row.state, row.attempt) == (ShardState.FAILED, 3)
    assert (
        row.error is not None and row.error.code == "other_version" and "cannot read the command" in row.error.message
    )
    app.tasks[WRITE_EXAMPLES.name].run(to_json(command(job, shard=1)))
    assert jobs.shard(job, "write", 1).state is ShardState.DONE


@pytest.mark.parametrize(
    "given", [{}, {"job_id": "j"}, {"job_id": 1, "stage": [], "shard": -1, "attempt": "x"}, 7, None]
)
def test_a_command_of_no_row_changes_nothing(jobs: JobStore, given: Any) -> None:
    job = add_job(jobs, writing(1))
    before = snapshot(jobs, job)
    refuse_command(given, "it is unreadable")
    assert snapshot(jobs, job) == before
