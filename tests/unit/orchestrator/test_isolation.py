"""Whatever is wrong with one job, it ends with a reason and can be cancelled; the job beside it succeeds.

A real server, the real orchestrator and dispatcher, the workers' own task function; Celery is a list of messages.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from services.gateway.jobs.service import view_summary
from services.orchestrator import loop
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.loop import Orchestrator
from services.orchestrator.retention import Retention
from services.orchestrator.settings import RetentionSettings
from shared.contracts.base import ObjectRef, Queue
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import parse_spec
from shared.errors import SenseError, UnavailableError
from shared.jobs.events import EventReader
from shared.jobs.plan import JobPlan
from shared.jobs.reading import read_job_page, read_stages
from shared.jobs.state import JobRecord, JobStatus
from shared.jobs.store import COMMON_KEYS, JobStore
from shared.jobs.workers import WorkerRegistry
from shared.storage.directory import DirectoryStore
from shared.storage.keys import archive_key
from shared.storage.store import ObjectStore
from shared.tasks.app import make_app
from shared.tasks.task import Shard, TaskResult, register_task
from tests.flow.harness import Messages
from tests.unit.jobs.helpers import building, writing
from tests.unit.tasks.conftest import jobs, module_redis_url

__all__ = ["jobs", "module_redis_url"]
PATIENCE_S = 40.0
SPEC = {"kind": "synthesis", "name": "small"}
TASKS = ("synthesis.write_examples", "sandbox.build_database")
DEEP = "[" * 200_000


def no_work(command: Any, shard: Shard) -> TaskResult:
    """An output and counts, as the contract of the command's task wants them."""
    contract = next(one for one in CONTRACTS.values() if isinstance(command, one.command))
    outputs = {name: ObjectRef(key=shard.key(name), sha256="0" * 64, size=0) for name in contract.outputs}
    zeros = {name: 1 for name, field in contract.counts.model_fields.items() if field.is_required()}
    return TaskResult(contract.counts.model_validate(zeros), outputs)


class Lab:
    """An orchestrator, a worker without work, a victim and an innocent job."""

    def __init__(self, store: JobStore, objects: ObjectStore) -> None:
        self.store, self.objects, self.messages = store, objects, Messages()
        facts = EventReader(store.client, store.prefix, "lab")
        facts.open()
        board = WorkerRegistry(store.client, store.prefix)
        for queue in (Queue.SYNTHESIS, Queue.SANDBOX):
            board.beat(queue, "lab", 1)
        self.orchestrator = Orchestrator(store, objects, facts, Dispatcher(store, board, self.messages))  # type: ignore[arg-type]
        self.app = make_app()
        for name in TASKS:
            self.app.tasks.pop(name, None)
            register_task(self.app, CONTRACTS[name], no_work)
        self.innocent = self.submit()
        self.victim = self.submit()

    def submit(self, *, planned: bool = True, spec: dict[str, Any] | None = None) -> str:
        """A job of two stages with two shards each."""
        job = self.store.submit(parse_spec(spec or SPEC))[0]
        if planned:
            self.store.set_plan(job, JobPlan(stages=[writing(2), building()]))
        return job

    def key(self, *parts: str) -> str:
        return self.store.key("job", self.victim, *parts)

    def put(self, *parts: str, **fields: object) -> None:
        """Fields of one of the victim's hashes."""
        self.store.client.hset(self.key(*parts), mapping=fields)

    def retype(self, *parts: str) -> None:
        """One of the victim's keys holds something else."""
        self.store.client.set(self.key(*parts), "not what it was")

    def turn(self, work: int = 1) -> None:
        """The orchestrator's round, and some of what it sent."""
        self.orchestrator.step()
        for _ in range(min(work, len(self.messages.waiting))):
            name, command = self.messages.waiting.pop(0)
            try:
                self.app.tasks[name].run(command)
            except Exception as error:  # Celery logs it, and the worker goes on
                assert command["job_id"] == self.victim, error

    def until(self, condition: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < ends, f"{what}: {self.innocent_record()}, {self.store.shown_job(self.victim)}"
            self.turn()

    def innocent_record(self) -> JobRecord:
        return self.store.job(self.innocent)

    def ended(self) -> bool:
        """Both jobs are over, and nothing is left to do for them."""
        return self.innocent_record().status.terminal and not self.store.active()


@pytest.fixture
def lab(jobs: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(loop, "SWEEP_S", 0.1)
    monkeypatch.setattr(loop, "BLOCK_MS", 10)
    yield Lab(jobs, DirectoryStore(tmp_path / "objects"))


def fact(lab: Lab, **fields: str) -> None:
    lab.store.client.xadd(f"{lab.store.prefix}events", fields)


def unplanned(change: Callable[[Lab], None]) -> Callable[[Lab], None]:
    """A victim that is not compiled yet."""

    def poison(lab: Lab) -> None:
        lab.store.client.hdel(lab.key(), "plan")
        lab.store.client.delete(lab.key("stages"))
        change(lab)

    return poison


def plan_with(**stage: Any) -> Callable[[Lab], None]:
    """A plan whose first stage has these fields."""

    def poison(lab: Lab) -> None:
        data = json.loads(lab.store.client.hget(lab.key(), "plan"))
        data["stages"][0] |= stage
        lab.put(plan=json.dumps(data))

    return poison


def dataset_spec(manifest: bytes) -> Callable[[Lab], None]:
    """A spec that names a dataset of which this is the manifest."""

    def change(lab: Lab) -> None:
        lab.objects.put("datasets/d/0123456789abcdef/manifest.json", manifest)
        lab.put(spec=json.dumps({**SPEC, "train": {"sft": [{"dataset": "d"}]}}))

    return unplanned(change)


def on_row(change: Callable[[Lab, tuple[str, ...]], None], stage: str = "write") -> Callable[[Lab], None]:
    """Once the victim has rows: its second one of a stage."""

    def poison(lab: Lab) -> None:
        lab.until(lambda: bool(lab.store.client.exists(lab.key("row", stage, "1"))), "rows")
        change(lab, ("row", stage, "1"))

    return poison


POISONS: dict[str, Callable[[Lab], None]] = {
    "spec is no JSON": unplanned(lambda lab: lab.put(spec="{")),
    "spec nests too deep": unplanned(lambda lab: lab.put(spec=DEEP)),
    "spec of another version": unplanned(lambda lab: lab.put(spec=json.dumps({**SPEC, "wish": 1}))),
    "spec of an unknown kind": unplanned(lambda lab: lab.put(spec='{"kind": "dreaming"}', kind="dreaming")),
    "spec is no text": unplanned(lambda lab: lab.put(spec=b"\xff\xfe{")),
    "spec is missing": unplanned(lambda lab: lab.store.client.hdel(lab.key(), "spec")),
    "dataset's manifest is damaged": dataset_spec(b'{"name": '),
    "dataset's manifest is of another version": dataset_spec(b'{"version": 99}'),
    "status that does not exist": lambda lab: lab.put(status="dreaming"),
    "status is missing": lambda lab: lab.store.client.hdel(lab.key(), "status"),
    "epoch is no number": lambda lab: lab.put(epoch="first"),
    "record is another type": lambda lab: lab.retype(),
    "record is gone": lambda lab: lab.store.client.delete(lab.key()),
    "plan is no JSON": lambda lab: lab.put(plan="{"),
    "plan is a list": lambda lab: lab.put(plan="[]"),
    "plan nests too deep": lambda lab: lab.put(plan='{"stages": ' + DEEP),
    "plan of an unknown task": plan_with(task="synthesis.dream"),
    "plan of an unknown source": plan_with(source={"dreams": 3}),
    "plan with parameters of another version": plan_with(params={"writer": "grammar", "wishes_of_v9": 1}),
    "plan whose command is refused": plan_with(params={"writer": "grammar", "levels": "many", "split": "t", "seed": 1}),
    "stages are another type": lambda lab: lab.retype("stages"),
    "stage is another type": lambda lab: lab.retype("stage", "write"),
    "stage counts in words": lambda lab: lab.put("stage", "write", total="some"),
    "shards are another type": lambda lab: lab.retype("shards", "write"),
    "done is another type": lambda lab: lab.retype("done", "write"),
    "events are another type": lambda lab: lab.retype("events"),
    "row is another type": on_row(lambda lab, row: lab.retype(*row)),
    "row is gone": on_row(lambda lab, row: lab.store.client.delete(lab.key(*row))),
    "row's parameters are no JSON": on_row(lambda lab, row: lab.put(*row, params="{")),
    "row's attempt is no number": on_row(lambda lab, row: lab.put(*row, attempt="first")),
    "row's state does not exist": on_row(lambda lab, row: lab.put(*row, state="dreaming")),
    "row to follow is another type": on_row(lambda lab, row: lab.retype(*row), stage="build"),
}
NOT_NEEDED = ("epoch is no number", "stages are another type")
# what the job survives, too: facts only wake
HARMLESS: dict[str, Callable[[Lab], None]] = {
    "fact's shard is no number": lambda lab: fact(
        lab, name="examples.written", job_id=lab.victim, stage="write", shard="one", at="1"
    ),
    "fact's time is no number": lambda lab: fact(lab, name="examples.written", job_id=lab.victim, at="now"),
    "fact's data is no JSON": lambda lab: fact(lab, name="job.running", job_id=lab.victim, at="1", data="{"),
    "fact of nothing": lambda lab: fact(lab, hello="world"),
    "fact of an unknown job": lambda lab: fact(lab, name="examples.written", job_id="nobody", shard="0", at="1"),
    "fact of an unknown shard": lambda lab: fact(
        lab, name="examples.written", job_id=lab.victim, stage="dreams", shard="7", at="1"
    ),
}


@pytest.mark.parametrize("moment", ["at first", "amid its work"])
@pytest.mark.parametrize("poison", [*POISONS, *HARMLESS])
def test_what_is_wrong_with_one_job_ends_that_job(lab: Lab, poison: str, moment: str) -> None:
    lab.orchestrator.store.forget_plan(lab.victim)
    if moment == "amid its work":
        lab.turn(work=2)
        lab.turn(work=1)
    {**POISONS, **HARMLESS}[poison](lab)
    lab.orchestrator.store._plans.clear()  # another process, which has read nothing yet
    lab.until(lab.ended, "the end of both jobs")
    assert lab.innocent_record().status is JobStatus.SUCCEEDED
    record = lab.store.shown_job(lab.victim) if poison != "record is gone" else None
    if record is not None and record.status is not JobStatus.SUCCEEDED:
        assert poison in POISONS
        assert record.status is JobStatus.FAILED
        assert record.error is not None and len(record.error.message) > 20, record
    elif record is not None:
        # what was damaged amid the work may not be needed any more
        assert poison in {*HARMLESS, *NOT_NEEDED} or moment == "amid its work", "it cannot have gone well"
    assert lab.store.damaged() == {}
    shown(lab)
    lab.until(lambda: lab.store.stale() == {}, "both archives")
    retained(lab)


def shown(lab: Lab) -> None:
    """The API's list has both jobs."""
    page = read_job_page(lab.store, kind=None, status=None, after=None, limit=10)
    stages = read_stages(lab.store, [job.id for job in page.jobs])
    summaries = [view_summary(job, stages[job.id]) for job in page.jobs]
    assert lab.innocent in [one.id for one in summaries]


def retained(lab: Lab) -> None:
    """Retention takes the innocent job out of Redis, and the victim does not stop it."""
    settings = RetentionSettings(rows_days=0, orphans_days=0, checkpoints_days=0, events_days=0)
    left = {one.what for one in Retention(lab.store, lab.objects, settings).run(now=time.time() + 60)}
    assert f"job {lab.innocent}" in left


@pytest.mark.parametrize("poison", POISONS)
def test_a_broken_job_can_be_cancelled(lab: Lab, poison: str) -> None:
    if poison == "record is gone":
        pytest.skip("there is nothing to cancel")
    POISONS[poison](lab)
    lab.orchestrator.store._plans.clear()
    assert lab.store.cancel(lab.victim) in set(JobStatus)
    lab.until(lab.ended, "the end of both jobs")
    assert lab.store.shown_job(lab.victim).status in (JobStatus.CANCELLED, JobStatus.FAILED)
    assert lab.innocent_record().status is JobStatus.SUCCEEDED


def test_a_job_whose_data_is_away_waits_alone_and_can_be_cancelled(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "objects" / "datasets" / "d" / "0123456789abcdef" / "manifest.json"
    lab.objects.put("datasets/d/0123456789abcdef/manifest.json", b"{}")
    folder.unlink()
    folder.symlink_to(folder)  # reading it is an error of the disk, for whoever asks
    with pytest.raises(UnavailableError):
        lab.objects.get("datasets/d/0123456789abcdef/manifest.json")
    lab.store.client.hdel(lab.key(), "plan")
    lab.store.client.delete(lab.key("stages"))
    lab.put(spec=json.dumps({**SPEC, "train": {"sft": [{"dataset": "d@0123456789abcdef"}]}}))
    lab.until(lambda: lab.innocent_record().status.terminal, "the innocent job's end")
    assert lab.innocent_record().status is JobStatus.SUCCEEDED
    assert lab.store.job(lab.victim).status is JobStatus.QUEUED
    lab.store.cancel(lab.victim)
    lab.until(lab.ended, "the cancelled job's end")
    assert lab.store.job(lab.victim).status is JobStatus.CANCELLED


def test_a_damaged_archive_is_made_anew_and_stops_nobody(lab: Lab) -> None:
    lab.until(lambda: lab.ended() and lab.store.stale() == {}, "both archives")
    lab.objects.put(archive_key(lab.victim, "rows.jsonl"), b"not a row\n")
    retained(lab)
    assert lab.store.shown_job(lab.victim).status is JobStatus.SUCCEEDED, "it stays while its archive cannot be read"
    lab.until(lambda: lab.store.stale() == {}, "the archive, made anew")
    settings = RetentionSettings(rows_days=0, orphans_days=0, checkpoints_days=0, events_days=0)
    gone = [one.what for one in Retention(lab.store, lab.objects, settings).run(now=time.time() + 60)]
    assert f"job {lab.victim}" in gone


@pytest.mark.parametrize("name", sorted(COMMON_KEYS))
def test_damage_of_a_key_of_all_jobs_fails_no_job(lab: Lab, name: str) -> None:
    lab.turn(work=1)
    client, key = lab.store.client, lab.store.key(name)
    kept = client.dump(key) if client.exists(key) else None
    client.set(key, "not what it was")
    ends = time.monotonic() + 1.0
    while time.monotonic() < ends:
        with suppress(SenseError, redis.RedisError):
            lab.turn(work=0)
    statuses = lab.store.statuses([lab.innocent, lab.victim])
    client.delete(key)
    if kept is not None:
        client.restore(key, 0, kept)
    lab.orchestrator.events.open()
    assert not {"failed", "cancelled"} & set(statuses)
    lab.until(lab.ended, "the end of both jobs")
    assert lab.innocent_record().status is lab.store.job(lab.victim).status is JobStatus.SUCCEEDED
