"""A real Celery worker and what may lie in its list: it works on, and a shard that nobody can work on learns why."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.contracts.base import Queue
from shared.jobs.plan import FixedShards, StagePlan
from shared.jobs.state import ShardState
from shared.jobs.store import JobStore
from shared.settings import RedisSettings
from shared.tasks.app import make_app, queue_key
from tests.unit.jobs.helpers import add_job
from tests.unit.tasks.conftest import jobs, module_redis_url

__all__ = ["jobs", "module_redis_url"]
PATIENCE_S = 90.0
ENVELOPE = {"body": "x", "headers": {"task": "evaluation.dream"}, "properties": {}}
GARBAGE = [
    "not json",
    "[" * 100_000,
    "5",
    "[]",
    "{}",
    json.dumps(ENVELOPE),
    json.dumps(
        {**ENVELOPE, "properties": {"delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "x"}}}
    ),
    b"\xff\xfe",
]


@pytest.fixture
def worker(jobs: JobStore, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The evaluation worker, as a stack starts it."""
    words = ["worker", "-Q", "evaluation", "-c", "1", "--without-mingle", "--without-gossip"]
    command = [sys.executable, "-m", "celery", "-A", "services.evaluation.worker", *words]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=dict(os.environ), stdout=log, stderr=log, cwd=Path(__file__).parents[3])
    try:
        wait_for(lambda: bool(jobs.client.zcard(f"{jobs.prefix}queue:evaluation:seen")), "the worker")
        yield process
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        for one in family:
            one.kill()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"{what} did not come"
        time.sleep(0.1)


def test_what_is_no_message_ends_no_worker(jobs: JobStore, worker: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    key = queue_key(RedisSettings(), Queue.EVALUATION)
    job = add_job(jobs, *(one_shard(name) for name in ("unknown", "unreadable")))
    for garbage in GARBAGE:
        jobs.client.lpush(key, garbage)
    app = make_app()
    for stage, task in (("unknown", "evaluation.dream"), ("unreadable", "evaluation.choose_model")):
        command = {"job_id": job, "stage": stage, "shard": 0, "attempt": 1, "correlation_id": "c", "wish_of_v9": 1}
        app.send_task(task, kwargs={"command": command}, queue="evaluation")
    app.close()

    def told(stage: str) -> bool:
        jobs.reap()
        row = jobs.shard(job, stage, 0)
        return row.error is not None and row.error.code == "other_version" and row.state is not ShardState.RUNNING

    wait_for(lambda: told("unknown") and told("unreadable"), "both reasons")
    assert worker.poll() is None, (tmp_path / "log").read_text(errors="replace")[-3000:]
    assert jobs.client.llen(key) == 0


def one_shard(stage: str) -> StagePlan:
    """A stage of the evaluation queue."""
    params: dict[str, Any] = {"arms": [], "dataset": {"stage": "collect.train"}}
    return StagePlan(id=stage, task="evaluation.choose_model", source=FixedShards(shards=[{}]), params=params)
