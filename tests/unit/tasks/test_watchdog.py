"""A text that stops a worker's interpreter costs its own shard its attempts, and nobody else their turn."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.orchestrator.dispatch import Dispatcher
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.settings import LeaseSettings
from shared.tasks.app import make_app
from tests.unit.jobs.helpers import add_job, job_events, writing

pytestmark = pytest.mark.stack
LEASE_S = 4.0
PATIENCE_S = 120.0


@pytest.fixture
def worker(jobs: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[subprocess.Popen[bytes]]":
    """One slot, as the local stack has it for this queue."""
    monkeypatch.setenv("SENSE_LEASE_SECONDS", str(LEASE_S))
    command = [sys.executable, "-m", "celery", "-A", "tests.support.stalling_worker", "worker"]
    command += ["-Q", "synthesis", "-c", "1", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ.copy())
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def drive(jobs: JobStore, until: Callable[[], bool]) -> None:
    """What the orchestrator does all the time, until something holds."""
    dispatcher = Dispatcher(jobs, WorkerRegistry(jobs.client, jobs.prefix), make_app())
    begin = time.monotonic()
    while not until():
        assert time.monotonic() - begin < PATIENCE_S
        dispatcher.dispatch()
        jobs.reap()
        dispatcher.resend_lost()
        time.sleep(0.1)


def test_a_stalled_task_is_ended_and_an_innocent_one_has_its_turn(
    jobs: JobStore, worker: "subprocess.Popen[bytes]"
) -> None:
    poisoned = add_job(jobs, writing(1))
    drive(jobs, lambda: jobs.shard(poisoned, "write", 0).state == "running")
    innocent = add_job(jobs, writing(2))
    jobs.client.hset(f"{jobs.prefix}job:{innocent}:row:write:0", "state", "done")  # its shard 0 would stall as well

    drive(jobs, lambda: jobs.shard(innocent, "write", 1).state == "done")
    row = jobs.shard(poisoned, "write", 0)
    assert row.state != "failed", "its turn comes between two attempts of the other, not behind all of them"
    assert row.attempt <= 2

    drive(jobs, lambda: jobs.shard(poisoned, "write", 0).state == "failed")
    row = jobs.shard(poisoned, "write", 0)
    assert row.attempt == 3
    assert row.error is not None
    assert row.error.code == "stalled"
    assert row.error.message.startswith("a text of this shard stalled the worker")
    assert [event.name for event in job_events(jobs, poisoned)].count("shard.failed") == 1
    assert worker.poll() is None, "the worker itself lives on"


def test_a_task_that_only_takes_long_is_left_alone(jobs: JobStore) -> None:
    """Signs of life come from a thread: Python code and calls that release the lock let it run."""
    from shared.contracts.synthesis import WriteExamples
    from shared.tasks import liveness

    dog = liveness.Watchdog()
    command = WriteExamples.model_validate(
        {"job_id": "j", "stage": "s", "shard": 0, "attempt": 1, "correlation_id": "c", **writing(1).params, "count": 1}
    )
    child = os.fork()
    if child == 0:
        liveness._watchdog = dog
        liveness.place_of_process = lambda: 3  # type: ignore[assignment]
        with liveness.watched(command, "token"):
            ends = time.monotonic() + 4 * LeaseSettings().seconds
            while time.monotonic() < ends:
                sum(range(1000))
        os._exit(0)
    oldest = 0.0
    seen = False
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if (sign := dog.read(3)) is not None:
            seen = True
            assert sign.shard == {"job": "j", "stage": "s", "shard": 0, "token": "token"}
            assert liveness.is_child(sign.pid)
            oldest = max(oldest, time.monotonic() - sign.at)
        time.sleep(0.02)
    assert os.waitpid(child, 0)[1] == 0
    assert seen
    assert dog.read(3) is None
    assert oldest < 4 * LeaseSettings().seconds
    assert not liveness.is_child(child)
