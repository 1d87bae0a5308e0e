"""A task goes on for as long as its lease is renewed, and for no other reason: whatever Redis or the thread does."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.synthesis import WRITE_EXAMPLES, WriteExamples
from shared.errors import UnavailableError
from shared.jobs.state import ShardState
from shared.jobs.store import JobStore
from shared.settings import RedisSettings
from shared.tasks.app import make_app
from shared.tasks.liveness import Heartbeat
from shared.tasks.task import Shard, TaskResult, renewing_store, run_shard
from tests.support.valkey import start_valkey
from tests.unit.jobs.helpers import add_job, claim, open_jobs, writing
from tests.unit.jobs.test_later import Server
from tests.unit.tasks.test_task import PATIENCE_S, command, first_row, write_one


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with start_valkey(tmp_path / "valkey") as url:
        for name, value in {
            "SENSE_REDIS_URL": url,
            "SENSE_REDIS_PREFIX": "t:",
            "SENSE_STORE_ROOT": str(tmp_path / "objects"),
            "SENSE_STATE": str(tmp_path / "state"),
            "SENSE_LEASE_SECONDS": "3",
            "SENSE_LEASE_RETRY_PAUSE_S": "0",
        }.items():
            monkeypatch.setenv(name, value)
        yield Server(url, tmp_path / "valkey")


def beating(store: JobStore) -> Heartbeat:
    job = add_job(store, writing(1))
    claim(store, job)
    heartbeat = Heartbeat(store, (job, "write", 0), token="t", worker="w")
    heartbeat.start()
    return heartbeat


@pytest.mark.parametrize("error", [RuntimeError("a bug"), UnavailableError("away"), KeyError(1), SystemExit(3)])
def test_a_heartbeat_that_cannot_renew_ends_its_task(
    jobs: JobStore, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renew(*_: Any, **__: Any) -> str:
        raise error

    def fault() -> None:
        raise RuntimeError("a task's own fault keeps nothing else alive")

    monkeypatch.setattr(jobs, "renew", renew)
    heartbeat, killed = beating(jobs), threading.Event()
    heartbeat.on_abort(fault)
    heartbeat.on_abort(killed.set)
    assert heartbeat.abort.wait(PATIENCE_S), "the work would go on without a lease"
    assert killed.wait(PATIENCE_S) and heartbeat.reason == "lost"


def test_one_strange_answer_costs_nothing(jobs: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    renew, faults = jobs.renew, iter([RuntimeError("a bug"), UnavailableError("BUSY")])

    def once(*args: Any, **named: Any) -> str:
        if (fault := next(faults, None)) is not None:
            raise fault
        answered.set()
        return renew(*args, **named)

    answered = threading.Event()
    monkeypatch.setattr(jobs, "renew", once)
    heartbeat = beating(jobs)
    assert answered.wait(PATIENCE_S) and not heartbeat.abort.is_set()
    heartbeat.stop()
    assert heartbeat.reason is None


def test_a_server_that_hangs_does_not_let_work_outlive_its_lease(server: Server) -> None:
    """A read that waits longer than the lease looked like a heartbeat that beats."""
    open_jobs(server.url, "t:")
    heartbeat = beating(renewing_store(RedisSettings()))
    began = time.monotonic()
    server.admin.execute_command("CLIENT", "PAUSE", "60000", "ALL")
    assert heartbeat.abort.wait(PATIENCE_S)
    assert time.monotonic() - began < 10, "far below the minute that the server hangs, and the client's 15 s"
    assert heartbeat.reason == "lost"


@pytest.mark.parametrize("state", [Server.busy, Server.replica, Server.password, Server.full])
def test_work_that_ends_while_redis_says_later_is_not_lost(server: Server, state: Callable[[Server], Any]) -> None:
    jobs = open_jobs(server.url, "t:")
    job = add_job(jobs, writing(1))
    attempts: list[int] = []
    over = threading.Event()

    def pass_by(entered: threading.Event) -> None:
        with state(server):
            entered.set()
            time.sleep(0.8)
        over.set()

    def work(given: WriteExamples, shard: Shard) -> TaskResult:
        attempts.append(given.attempt)
        done = write_one(given, shard)
        entered = threading.Event()
        threading.Thread(target=pass_by, args=(entered,)).start()
        assert entered.wait(PATIENCE_S)
        shard.progress(done=1)  # tells nobody then, and fails nothing
        return done

    run_shard(WRITE_EXAMPLES, command(job), work)
    assert over.wait(PATIENCE_S)
    assert attempts == [1]
    assert first_row(open_jobs(server.url, "t:"), job).state is ShardState.DONE


def test_a_worker_outlives_what_its_broker_says(server: Server, tmp_path: Path) -> None:
    """An answer like BUSY, READONLY or OOM made the whole worker exit, and its tasks with it."""
    log = (tmp_path / "worker.log").open("wb")
    arguments = [sys.executable, "-m", "celery", "-A", "services.synthesis.worker", "worker", "-Q", "synthesis"]
    worker = subprocess.Popen(
        [*arguments, "-P", "solo", "--without-gossip", "--without-mingle", "-l", "INFO"],
        stdout=log,
        stderr=log,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        jobs = open_jobs(server.url, "t:")
        until_slow(lambda: bool(jobs.client.exists("t:queue:synthesis:seen")), worker)
        for state in (server.busy, server.replica):
            with state():
                time.sleep(2.5)  # long enough for a few of the worker's reads
        job = add_job(jobs, writing(1))
        make_app().send_task(
            "synthesis.write_examples", kwargs={"command": command(job).model_dump(mode="json")}, queue="synthesis"
        )
        until_slow(lambda: first_row(jobs, job).state is not ShardState.QUEUED, worker)
    finally:
        worker.kill()
        worker.wait()
        log.close()


def until_slow(condition: Callable[[], bool], worker: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + 90
    while not condition():
        assert worker.poll() is None, "the worker exited"
        assert time.monotonic() < ends
        time.sleep(0.1)
