"""A whole stack in one process: a real server, a real orchestrator, and Celery played by a list of messages."""

import json
import os
import random
import time
import uuid
from pathlib import Path
from typing import Any

from services.orchestrator import loop
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.loop import Orchestrator
from services.pairing.tasks import TASKS as PAIRING
from services.sandbox.tasks import TASKS as SANDBOX
from services.synthesis.tasks import TASKS as SYNTHESIS
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import parse_spec
from shared.jobs.events import EventReader
from shared.jobs.state import JobRecord, JobStatus
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.storage.directory import DirectoryStore
from shared.tasks.task import Work, run_shard
from tests.unit.jobs.helpers import open_jobs

WORK: dict[str, Work[Any]] = {
    contract.name: work for tasks in (SYNTHESIS, SANDBOX, PAIRING) for contract, work in tasks.items()
}
PATIENCE_S = 60.0


class Messages:
    """Stands where Celery stands: `send_task` puts a message on a list."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, dict[str, Any]]] = []

    def send_task(self, name: str, *, kwargs: dict[str, Any], queue: str) -> None:
        """A message as it would travel: JSON."""
        assert CONTRACTS[name].queue == queue
        self.waiting.append((name, json.loads(json.dumps(kwargs["command"]))))


class Stack:
    """Jobs from submission to their end; `seed` shuffles the order in which shards are worked on."""

    def __init__(self, environment: dict[str, str], seed: int | None = None) -> None:
        self.environment = environment
        url, prefix = environment["SENSE_REDIS_URL"], environment["SENSE_REDIS_PREFIX"]
        self.jobs: JobStore = open_jobs(url, prefix)
        self.objects = DirectoryStore(Path(environment["SENSE_STORE_ROOT"]))
        self.messages = Messages()
        self.rng = random.Random(seed) if seed is not None else None
        self.worked: list[tuple[str, int]] = []
        self.restart()

    def restart(self) -> None:
        """Another orchestrator, as after a crash: nothing but Redis is remembered."""
        facts = EventReader(self.jobs.client, self.jobs.prefix, uuid.uuid4().hex[:8])
        facts.open()
        board = WorkerRegistry(self.jobs.client, self.jobs.prefix)
        dispatcher = Dispatcher(self.jobs, board, self.messages)  # type: ignore[arg-type]
        self.orchestrator = Orchestrator(self.jobs, self.objects, facts, dispatcher)

    def submit(self, spec: dict[str, Any]) -> str:
        """A job's id."""
        return self.jobs.submit(parse_spec(spec))[0]

    def work(self, most: int | None = None) -> None:
        """Works on what was sent, at most `most` messages."""
        os.environ.update(self.environment)
        if self.rng is not None:
            self.rng.shuffle(self.messages.waiting)
        batch = self.messages.waiting[:most]
        self.messages.waiting = self.messages.waiting[len(batch) :]
        for name, command in batch:
            contract = CONTRACTS[name]
            self.worked.append((command["stage"], command["shard"]))
            run_shard(contract, contract.command.model_validate(command), WORK[name])

    def run(self, job: str) -> JobRecord:
        """To the job's end."""
        ends = time.monotonic() + PATIENCE_S
        while not self.jobs.job(job).status.terminal:
            assert time.monotonic() < ends, f"the job hangs: {self.worked}"
            self.orchestrator.step()
            self.work()
        return self.jobs.job(job)

    def succeed(self, spec: dict[str, Any]) -> str:
        """A job that must succeed; its id."""
        job = self.submit(spec)
        record = self.run(job)
        assert record.status is JobStatus.SUCCEEDED, record.error
        return job

    def output(self, job: str, stage: str, name: str) -> bytes:
        """The bytes of a single-shard stage's output."""
        (ref,) = self.jobs.outputs(job, stage, name)
        return self.objects.get(ref.key)

    def counts(self, job: str, stage: str) -> dict[str, int]:
        """The sums of a stage."""
        plan = self.jobs.plan(job)
        assert plan is not None
        return self.jobs.stage_states(job, plan)[stage].counts

    def names(self, job: str) -> list[tuple[str, int, int]]:
        """Stage, shard and attempt of every row."""
        plan = self.jobs.plan(job)
        assert plan is not None
        rows = [row for stage in plan.stages for row in self.jobs.shards(job, stage.id)]
        return [(row.stage, row.shard, row.attempt) for row in rows]


loop.BLOCK_MS = 20
