"""SIGKILL in the middle of the work: nothing is doubled, nothing is lost, and hardly anything is paid twice."""

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from services.cli.stack.manager import program_states
from shared.contracts.records import Candidate
from shared.contracts.registry import CONTRACTS
from shared.errors import UnavailableError
from shared.jobs.state import JobStatus, ShardState
from shared.models.bases import resolve_base
from tests.support.openai_server import OpenAiServer
from tests.support.stack import MODELS, Golds, Stack, running_stack, wait_until
from tests.support.writers import strong_writer, weak_writer

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
LEASE_S = 3.0
CONCURRENCY = 2
LOADED_BYTES = 500_000_000
RECOVERY_S = 2 * LEASE_S + 10
PAID: dict[str, Any] = {
    "kind": "pairing",
    "name": "paid",
    "train": {"sft": [{"synthesis": 16, "per_shard": 4}]},
    "strong": {"endpoint": "strong", "model": "s"},
    "weak": {"endpoint": "weak", "model": "w", "samples": 2},
}
SERVED: dict[str, Any] = {
    "kind": "pairing",
    "name": "served",
    "train": {"sft": [{"synthesis": 8, "per_shard": 4}]},
    "prompt": {"sample_rows": 0},
    "weak": {"base": "builtin:smollm2-135m", "sft_first": False, "questions": 6, "samples": 2, "max_tokens": 16},
}
FACTS = {contract.event for contract in CONTRACTS.values()}


@dataclass(frozen=True)
class World:
    """One stack with short leases, and the two endpoints that it pays."""

    stack: Stack
    strong: OpenAiServer
    weak: OpenAiServer

    def paid(self) -> tuple[int, int]:
        """Whole answers sold since the servers started."""
        return sum(self.strong.sold.values()), sum(self.weak.sold.values())


@dataclass(frozen=True)
class Run:
    """What one job left: its exports, its answers by id, what it paid, how long it took."""

    exports: dict[str, bytes]
    candidates: list[tuple[str, int]]
    paid: tuple[int, int]
    seconds: float


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    state = tmp_path_factory.mktemp("kill") / "state"
    weak = weak_writer(Golds(state / "objects"), correct=0.5)
    with (
        OpenAiServer(strong_writer, latency_s=0.25, models=["s"]) as strong_server,
        OpenAiServer(weak, latency_s=0.2, models=["w"]) as weak_server,
        running_stack(
            state,
            SENSE_LEASE_SECONDS=str(LEASE_S),
            SENSE_ENDPOINT_STRONG_BASE_URL=strong_server.base_url,
            SENSE_ENDPOINT_STRONG_MAX_CONCURRENCY=str(CONCURRENCY),
            SENSE_ENDPOINT_WEAK_BASE_URL=weak_server.base_url,
            SENSE_ENDPOINT_WEAK_MAX_CONCURRENCY=str(CONCURRENCY),
        ) as stack,
    ):
        yield World(stack, strong_server, weak_server)


@pytest.fixture(scope="module")
def paid(world: World) -> Run:
    """The undisturbed run of the job that pays endpoints."""
    run = undisturbed(world, PAID)
    assert all(run.exports.values()) and min(run.paid) >= 16
    return run


@pytest.fixture(scope="module")
def served(world: World) -> Run:
    """The undisturbed run of the job that asks the engine."""
    resolve_base("builtin:smollm2-135m", MODELS)
    run = undisturbed(world, SERVED)
    assert len(run.candidates) == 12 and run.paid == (0, 0)
    return run


def submit(world: World, spec: dict[str, Any]) -> str:
    """A new job for which no answer is recorded."""
    shutil.rmtree(world.stack.objects.root / "answers", ignore_errors=True)
    return world.stack.client.submit(spec).id


def undisturbed(world: World, spec: dict[str, Any]) -> Run:
    before = world.paid()
    return settle(world, submit(world, spec), before)


def settle(world: World, job_id: str, before: tuple[int, int]) -> Run:
    """Waits for the job by the store itself, which may be away for a moment, and reads what it left."""
    jobs = world.stack.jobs
    ends = time.monotonic() + 120

    def ended() -> bool:
        try:
            return jobs.job(job_id).status.terminal
        except UnavailableError:
            return False

    wait_until(ended, f"the end of job {job_id}", limit_s=max(0.0, ends - time.monotonic()), poll_s=0.1)
    job = jobs.job(job_id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    after = world.paid()
    exports = {
        name: world.stack.export(job_id, stage, name)
        for stage, name in (("collect.train", "sft.jsonl"), ("collect.preferences", "dpo.jsonl"))
    }
    candidates = world.stack.outputs(job_id, "sample", "candidates", Candidate)
    return Run(
        exports,
        [(one.example_id, one.slot) for one in candidates],
        (after[0] - before[0], after[1] - before[1]),
        (job.finished_at or 0.0) - job.created_at,
    )


def running(world: World, job_id: str, stages: Sequence[str], field: str = "running") -> int:
    """Shards of those stages in a state."""
    jobs = world.stack.jobs
    counts = [jobs.client.hget(jobs.key("job", job_id, "stage", stage), field) for stage in stages]
    return sum(int(count or 0) for count in counts)


def kill_at_work(world: World, job_id: str, program: str, stages: Sequence[str], *, child: bool, done: int) -> int:
    """SIGKILLs a program, or all processes below it, while a shard of `stages` runs; the (first) pid it had."""
    stack = world.stack
    process = psutil.Process(stack.pid(program))
    stack.remember()

    def at_work() -> bool:
        assert not stack.jobs.job(job_id).status.terminal, f"no shard of {stages} was caught running"
        if program == "engine" and not any(one.memory_info().rss > LOADED_BYTES for one in process.children()):
            return False  # it starts a child when someone asks, which has to load the model first
        return running(world, job_id, stages, "done") >= done and running(world, job_id, stages) > 0

    wait_until(at_work, f"a running shard of {stages}", limit_s=60, poll_s=0.001)
    targets = process.children() if child else [process]  # a worker of two slots has one at work at least
    for target in targets:
        target.kill()
    return targets[0].pid


def check_rows(world: World, job_id: str) -> None:
    """Every shard stands once, is done, and left its fact exactly once."""
    plan = world.stack.jobs.plan(job_id)
    assert plan is not None
    rows = [row for stage in plan.stages for row in world.stack.jobs.shards(job_id, stage.id)]
    events = list(world.stack.client.events(job_id))
    facts = Counter((event.stage, event.shard) for event in events if event.type == "fact" and event.name in FACTS)
    assert facts == {(row.stage, row.shard): 1 for row in rows}
    assert {row.state for row in rows} == {ShardState.DONE}
    ends = [event.name for event in events if event.name in ("job.succeeded", "job.failed", "job.cancelled")]
    assert ends == ["job.succeeded"]


def check_restart(world: World, program: str, old: int) -> None:
    """supervisord has brought the program back."""

    def back() -> bool:
        states = program_states(world.stack.file)
        return any(one.name == program and one.state == "RUNNING" and one.pid != old for one in states)

    wait_until(back, f"{program}'s restart", limit_s=60)


def check_run(run: Run, reference: Run, extra: int) -> None:
    """The same answers and files, at most `extra` calls more at each endpoint, in bounded time."""
    assert run.exports == reference.exports
    assert run.candidates == reference.candidates
    for bought, wanted in zip(run.paid, reference.paid, strict=True):
        assert wanted <= bought <= wanted + extra
    assert run.seconds <= 3 * reference.seconds + RECOVERY_S


@pytest.mark.parametrize(
    ("program", "stages", "child"),
    [
        ("worker-synthesis", ("write.train",), False),
        ("worker-synthesis", ("write.train",), True),
        ("worker-sandbox", ("build.train", "verify.train", "judge"), False),
        ("worker-sandbox", ("build.train", "verify.train", "judge"), True),
        ("worker-pairing", ("sample",), False),
        ("worker-pairing", ("sample",), True),
        ("orchestrator", ("write.train", "sample"), False),
        ("redis", ("write.train", "sample"), False),
    ],
)
def test_a_killed_process_costs_nothing_but_time(
    world: World, paid: Run, program: str, stages: tuple[str, ...], child: bool
) -> None:
    before = world.paid()
    job_id = submit(world, PAID)
    pid = kill_at_work(world, job_id, program, stages, child=child, done=1)
    run = settle(world, job_id, before)
    check_run(run, paid, CONCURRENCY)
    check_rows(world, job_id)
    if child:
        assert not psutil.pid_exists(pid)
        if program != "worker-sandbox":  # its shards are short: one may end before the signal comes
            assert [row for stage in stages for row in world.stack.jobs.shards(job_id, stage) if row.attempt == 2]
    else:
        check_restart(world, program, pid)


def test_a_killed_gateway_is_not_needed_by_the_job_and_its_watchers_come_back(world: World, paid: Run) -> None:
    before = world.paid()
    job_id = submit(world, PAID)
    seen: list[str] = []

    def follow() -> None:
        seen.extend(event.id for event in world.stack.client.events(job_id, follow=True))

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    pid = kill_at_work(world, job_id, "gateway", ("sample",), child=False, done=1)
    run = settle(world, job_id, before)
    check_run(run, paid, 0)
    check_restart(world, "gateway", pid)
    watcher.join(60)
    assert not watcher.is_alive()
    check_rows(world, job_id)
    assert seen == [event.id for event in world.stack.client.events(job_id)]


@pytest.mark.model
@pytest.mark.parametrize(
    ("program", "stages", "child"),
    [
        ("engine", ("sample",), False),
        ("engine", ("sample",), True),
        ("worker-serving", ("deploy.weak", "release.weak"), False),
    ],
)
def test_a_killed_engine_or_its_worker_loses_no_answer(
    world: World, served: Run, program: str, stages: tuple[str, ...], child: bool
) -> None:
    before = world.paid()
    job_id = submit(world, SERVED)
    pid = kill_at_work(world, job_id, program, stages, child=child, done=0)
    run = settle(world, job_id, before)
    assert run.exports["sft.jsonl"] == served.exports["sft.jsonl"]
    assert run.candidates == served.candidates
    check_rows(world, job_id)
    if not child:
        check_restart(world, program, pid)


def test_what_was_killed_left_no_lock_behind(world: World, paid: Run) -> None:
    """After all of that, the same job runs as it did at first, and pays the same."""
    again = undisturbed(world, PAID)
    assert (again.exports, again.candidates, again.paid) == (paid.exports, paid.candidates, paid.paid)
    assert json.loads(again.exports["dpo.jsonl"].splitlines()[0])["example_id"]
