"""Mixed versions during an upgrade: what a worker cannot read fails with the reason, and comes to one that can."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from services.orchestrator.archive import archive_job
from shared.contracts.base import Queue, StageRef, to_json
from shared.contracts.synthesis import WRITE_EXAMPLES
from shared.errors import NotFoundError, SenseError
from shared.jobs.finished import FinishedJobs
from shared.jobs.state import ShardState
from shared.jobs.store import RESENDS, JobStore
from shared.storage.directory import DirectoryStore
from shared.tasks.app import make_app
from shared.tasks.liveness import Heartbeat
from shared.tasks.task import Shard, register_task, run_shard
from tests.unit.jobs.helpers import add_job, claim, job_events, open_jobs, snapshot, writing
from tests.unit.jobs.test_later import Server
from tests.unit.tasks.test_heartbeat import server, until_slow
from tests.unit.tasks.test_task import command, first_row, write_one

__all__ = ["server"]

APP = make_app()
register_task(APP, WRITE_EXAMPLES, write_one)


def receive(raw: dict[str, Any]) -> None:
    """As a worker does, without its broker."""
    APP.tasks[WRITE_EXAMPLES.name](command=raw)


def without(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda raw: {**raw, "tomorrows_field": 1}, "tomorrows_field"),  # an old worker, a new command
        (lambda raw: without(raw, "writer"), "writer"),  # a new worker, an old command
        (lambda raw: {**raw, "levels": 7}, "levels"),
        (lambda raw: without(raw, "correlation_id"), "correlation_id"),  # not needed to know whose attempt it is
        (lambda raw: {**raw, "correlation_id": 7}, "correlation_id"),
    ],
)
def test_a_command_of_another_version_is_an_attempt_with_its_reason(jobs: JobStore, spoil: Any, field: str) -> None:
    job = add_job(jobs, writing(1))
    for attempt in (1, 2, 3):
        receive(spoil(to_json(command(job, attempt=attempt))))
        assert jobs.reap() == [f"{job}|write|0"]
    row = first_row(jobs, job)
    assert row.state is ShardState.FAILED and row.error is not None
    assert row.error.code == "other_version"
    assert field in row.error.message and "bring all of them to one" in row.error.message
    before = snapshot(jobs, job)
    receive(spoil(to_json(command(job, attempt=3))))
    assert snapshot(jobs, job) == before, "a message that comes again does nothing"


def test_a_worker_that_can_read_it_takes_over(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    receive({**to_json(command(job)), "tomorrows_field": 1})
    jobs.reap()
    run_shard(WRITE_EXAMPLES, command(job, attempt=2), write_one)
    row = first_row(jobs, job)
    assert (row.state, row.error) == (ShardState.DONE, None)


def test_a_message_that_is_no_command_harms_nobody(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    before = snapshot(jobs, job)
    for raw in ({}, {"job_id": job}, {"job_id": [], "stage": "write", "shard": -1}):
        receive(raw)
    assert snapshot(jobs, job) == before


def test_a_shard_whose_messages_vanish_fails_in_the_end(jobs: JobStore) -> None:
    """Whatever eats a message before its claim: it was sent again for ever."""
    job = add_job(jobs, writing(1))
    rounds = 0
    while first_row(jobs, job).state is ShardState.QUEUED:
        assert jobs.take(Queue.SYNTHESIS, 1) == [(job, "write", 0)]
        jobs.resend(Queue.SYNTHESIS, -1.0, vanished=True)
        rounds += 1
        assert rounds <= 3 * RESENDS
    assert rounds == 3 * RESENDS
    row = first_row(jobs, job)
    assert row.state is ShardState.FAILED and row.error is not None and row.error.code == "not_claimed"
    assert len(job_events(jobs, job, "shard.failed")) == 1


def test_a_message_that_only_waits_is_no_attempt(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    for _ in range(4 * RESENDS):
        jobs.take(Queue.SYNTHESIS, 1)
        assert jobs.resend(Queue.SYNTHESIS, -1.0) == 1
    for number in range(3 * RESENDS):  # and one that is begun now and then starts anew
        jobs.take(Queue.SYNTHESIS, 1)
        if number % (RESENDS - 1) == 0:
            assert claim(jobs, job) == "ok"
            assert jobs.hand_back(job, "write", 0, token="t")
        else:
            assert jobs.resend(Queue.SYNTHESIS, -1.0, vanished=True) == 1
    assert first_row(jobs, job).attempt == 1


def test_a_plan_of_another_version_says_so(jobs: JobStore) -> None:
    job = add_job(jobs, writing(1))
    key = jobs.key("job", job)
    text = str(jobs.client.hget(key, "plan")).replace("synthesis.write_examples", "synthesis.of_tomorrow")
    jobs.client.hset(key, "plan", text)
    with pytest.raises(SenseError, match="of another version of Sense") as caught:
        open_jobs(os.environ["SENSE_REDIS_URL"], jobs.prefix).plan(job)
    assert caught.value.code == "other_version" and not caught.value.retryable


def test_a_real_worker_fails_what_it_does_not_know(server: Server, tmp_path: Path) -> None:
    jobs, app = open_jobs(server.url, "t:"), make_app()
    log = (tmp_path / "worker.log").open("wb")
    arguments = [sys.executable, "-m", "celery", "-A", "services.synthesis.worker", "worker", "-Q", "synthesis"]
    worker = subprocess.Popen(
        [*arguments, "-P", "solo", "--without-gossip", "--without-mingle"], stdout=log, stderr=log
    )
    try:
        unknown, other = add_job(jobs, writing(1)), add_job(jobs, writing(1))
        send(app, "synthesis.of_tomorrow", to_json(command(unknown)))
        send(app, "synthesis.write_examples", {**to_json(command(other)), "tomorrows_field": 1})
        for job, reason in ((unknown, "no task synthesis.of_tomorrow"), (other, "tomorrows_field")):
            until_slow(lambda: first_row(jobs, job).error is not None, worker)  # noqa: B023
            error = first_row(jobs, job).error
            assert error is not None and error.code == "other_version" and reason in error.message
    finally:
        worker.kill()
        worker.wait()
        log.close()


def send(app: Celery, name: str, raw: dict[str, Any]) -> None:
    app.send_task(name, kwargs={"command": raw}, queue="synthesis")


def test_what_a_leaving_job_left_is_read_from_its_archive(
    jobs: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows leave Redis one after the other: what is still there is not the whole."""
    objects, source = DirectoryStore(tmp_path / "objects"), add_job(jobs, writing(4))
    for number in range(4):
        run_shard(WRITE_EXAMPLES, command(source, number), write_one)
    refs = jobs.outputs(source, "write", "written")
    jobs.end(source, "succeeded")
    seen = jobs.stale()[source]
    archive_job(jobs, objects, source, jobs.plan(source))
    jobs.archived(source, seen)
    (ended,) = FinishedJobs(jobs).all()
    reader = Shard(
        command(add_job(jobs, writing(1))), jobs, objects, Heartbeat(jobs, ("a", "b", 0), token="", worker="")
    )
    there = StageRef(stage="write", job_id=source)
    assert reader.refs(there, "written") == refs
    monkeypatch.setattr("shared.jobs.store.BATCH", 2)
    monkeypatch.setattr("shared.jobs.finished.AT_ONCE_S", 0.0)
    assert FinishedJobs(jobs).forget(ended)
    assert 0 < len(jobs.outputs(source, "write", "written")) < 4
    assert reader.refs(there, "written") == refs
    jobs.work_off(5.0)
    assert reader.refs(there, "written") == refs
    with pytest.raises(NotFoundError):
        reader.refs(StageRef(stage="write", job_id="nobody"), "written")
