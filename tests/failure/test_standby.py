"""Two orchestrators: one works, the other waits; killing and pausing the one that works costs time and nothing else.

Real: a Valkey server with its append-only file, orchestrator processes, Celery's lists, workers that claim and finish.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.orchestrator.app import Leadership
from services.orchestrator.archive import Archiver, archive_job
from shared.contracts.base import ObjectRef, Queue
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import SynthesisSpec
from shared.errors import SenseError
from shared.jobs.events import JobEvents
from shared.jobs.plan import JobPlan
from shared.jobs.reading import read_archived_job, read_archived_shards
from shared.jobs.state import ErrorInfo, JobStatus, ShardState
from shared.jobs.steps import NotLeaderError
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.settings import RedisSettings
from shared.storage.directory import DirectoryStore
from tests.bench.bench_orchestrator import QUEUES, two_stages, worker
from tests.support.stack import REPO, wait_until
from tests.support.valkey import start_valkey
from tests.unit.jobs.helpers import add_job, claim, open_jobs, snapshot, writing

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
LEASE_S = 1.5
START_S = 90.0
FACTS = {contract.event for contract in CONTRACTS.values()}


@dataclass
class Pair:
    """A server, a store, and orchestrators that are started as they die."""

    url: str
    folder: Path
    lease_s: float
    store: JobStore
    running: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "SENSE_REDIS_URL": self.url,
            "SENSE_STORE_ROOT": str(self.folder / "objects"),
            "SENSE_STATE": str(self.folder / "state"),
            "SENSE_LEASE_SECONDS": "5",
            "SENSE_LEASE_RETRY_PAUSE_S": "0",
            "SENSE_ORCHESTRATOR_LEASE_S": str(self.lease_s),
        }

    def start(self) -> int:
        """One more orchestrator; its pid."""
        with (self.folder / "orchestrators.log").open("ab") as log:
            command = [sys.executable, "-m", "services.orchestrator.app"]
            one = subprocess.Popen(command, env=self.environment, cwd=REPO, stdout=log, stderr=log)
        self.running[one.pid] = one
        return one.pid

    def leader(self) -> int | None:
        """Who holds the lease."""
        token = self.store.client.get(self.store.key("leader"))
        return int(token.split(":")[1]) if token else None

    def wait_leader(self, *, but: int | None = None, limit_s: float = START_S) -> int:
        """The pid of a leader, another one than `but`."""
        wait_until(lambda: self.leader() not in (None, but), "a leader", limit_s=limit_s, poll_s=0.05)
        found = self.leader()
        assert found is not None
        return found

    def end(self, pid: int, number: signal.Signals) -> None:
        one = self.running.pop(pid)
        one.send_signal(number)
        one.wait(60)

    def log(self) -> str:
        return (self.folder / "orchestrators.log").read_text(errors="replace")


@contextmanager
def pair(folder: Path, lease_s: float = LEASE_S) -> Iterator[Pair]:
    """Two orchestrators, the first of which leads."""
    with start_valkey(folder / "valkey", append_only=True) as url:
        made = Pair(url, folder, lease_s, open_jobs(url, RedisSettings().prefix))
        try:
            made.start()
            made.wait_leader()
            made.start()
            yield made
        finally:
            for one in made.running.values():
                one.kill()
                one.wait()


@contextmanager
def workers(made: Pair) -> Iterator[None]:
    """Two worker processes that do no work, and a board that says they live."""
    over, prefix = threading.Event(), made.store.prefix
    board = WorkerRegistry(open_jobs(made.url, prefix).client, prefix)

    def beat() -> None:
        while not over.wait(1):
            for queue in QUEUES:
                board.beat(queue, "standby", 4)

    spawn = multiprocessing.get_context("spawn")
    crowd = [spawn.Process(target=worker, args=(made.url, prefix), daemon=True) for _ in range(2)]
    with ExitStack() as held:
        for one in crowd:
            one.start()
            held.callback(one.kill)
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        held.callback(thread.join)
        held.callback(over.set)
        yield


def strike(made: Pair, rng: random.Random) -> str:
    """The leader is killed and started again, stopped in order, or paused until another has long taken over."""
    leader = made.wait_leader()
    how = rng.choice(("kill", "kill", "stop", "pause", "pause"))
    if how == "pause":
        os.kill(leader, signal.SIGSTOP)
        try:
            made.wait_leader(but=leader)
            time.sleep(rng.uniform(0, LEASE_S))
        finally:
            os.kill(leader, signal.SIGCONT)
        return how
    made.end(leader, signal.SIGKILL if how == "kill" else signal.SIGTERM)
    made.start()
    made.wait_leader(but=leader)
    return how


def test_whatever_happens_to_leaders_jobs_end_right_and_archives_are_whole(tmp_path: Path) -> None:
    rng, shards = random.Random(17), 40
    with pair(tmp_path) as made, workers(made):
        store, objects, submitted = made.store, DirectoryStore(tmp_path / "objects"), []
        strikes: Counter[str] = Counter()
        for _ in range(9):
            for _ in range(3):
                submitted.append(submit(store, shards))
            strikes[strike(made, rng)] += 1
        assert set(strikes) == {"kill", "stop", "pause"}
        wait_until(lambda: not store.active(), "the end of all jobs", limit_s=120)
        wait_until(lambda: not store.stale(), "all archives", limit_s=60)
        for job in submitted:
            check_job(store, objects, job, shards)
        log = made.log()
    assert "round_failed" not in log and "job.broken" not in log, log[-3000:]
    assert log.count("orchestrator.leads ") >= strikes.total(), "every strike made another one lead"


def submit(store: JobStore, shards: int) -> str:
    """A job with a plan of ours, unless the leader was quicker and compiled its spec: then another."""
    while True:
        job = store.submit(SynthesisSpec(kind="synthesis"))[0]
        if store.set_plan(job, two_stages(shards)):
            return job
        store.cancel(job)


def check_job(store: JobStore, objects: DirectoryStore, job: str, shards: int) -> None:
    """Every row is done once, in Redis and in the archive, and the job ended once."""
    assert store.job(job).status is JobStatus.SUCCEEDED, store.job(job).error
    rows = [row for stage in ("write", "build") for row in store.shards(job, stage)]
    assert len(rows) == shards and {row.state for row in rows} == {ShardState.DONE}
    events = list(JobEvents(store.client, store.prefix, job).all())
    told = Counter((event.stage, int(event.shard)) for event in events if event.name in FACTS)
    assert told == {(row.stage, row.shard): 1 for row in rows}
    assert [event.name for event in events if event.name in ("job.succeeded", "job.failed")] == ["job.succeeded"]
    assert list(read_archived_shards(objects, job)) == rows
    assert read_archived_job(objects, job).job == store.job(job)


def test_a_leader_that_stops_in_order_is_followed_at_once(tmp_path: Path) -> None:
    with pair(tmp_path, lease_s=300) as made:
        first = made.wait_leader()
        made.end(first, signal.SIGTERM)
        assert made.wait_leader(but=first, limit_s=60) in made.running, "nobody waited for the lease to run out"


def test_a_leader_that_is_killed_is_followed_when_its_lease_is_over(tmp_path: Path) -> None:
    with pair(tmp_path, lease_s=3) as made:
        first, began = made.wait_leader(), time.monotonic()
        made.end(first, signal.SIGKILL)
        second = made.wait_leader(but=first, limit_s=2 * 3 + 20)
        print(f"followed after {time.monotonic() - began:.1f} s")
        assert second in made.running


# what only an orchestrator does; the rest are workers' and the gateway's steps
STEPS: dict[str, Callable[[JobStore, str], object]] = {
    "set a plan": lambda store, job: store.set_plan(job, JobPlan(stages=[writing(1)])),
    "add shards": lambda store, job: store.add_shards(job, "write", {7: {}}),
    "close a stage": lambda store, job: store.close_stage(job, "open"),
    "end a job": lambda store, job: store.end(job, "failed"),
    "put a job aside": lambda store, job: store.quarantine(job, ErrorInfo(code="x", message="y")),
    "say that it is archived": lambda store, job: store.archived(job, 1),
    "take rows": lambda store, job: store.take(Queue.SYNTHESIS, 5),
    "reap": lambda store, job: store.reap(),
    "send again": lambda store, job: store.resend(Queue.SYNTHESIS, -1),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_valkey(tmp_path_factory.mktemp("valkey")) as found:
        yield found


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_a_former_leader_changes_nothing(url: str, step: str) -> None:
    store = open_jobs(url)
    first, second = Leadership(store.steps, 0.5), Leadership(store.steps, 60)
    assert first.acquire() and not second.acquire()
    former = open_jobs(url, store.prefix)
    former.steps.fence = first.fence
    job = add_job(former, writing(3), writing(1, stage="more"))
    assert claim(store, job, 0, lease_s=-1) == "ok"
    first.lose()
    wait_until(second.acquire, "the end of the first lease", limit_s=30, poll_s=0.05)
    before = snapshot(store, job), sorted(store.client.scan_iter(f"{store.prefix}*"))
    with pytest.raises(NotLeaderError):
        STEPS[step](former, job)
    assert (snapshot(store, job), sorted(store.client.scan_iter(f"{store.prefix}*"))) == before
    former.steps.fence = second.fence
    STEPS[step](former, job)  # the same step of the one that leads is taken
    second.give_up()


class Held(DirectoryStore):
    """A store whose writer is paused at one key, as by SIGSTOP in the middle of a put."""

    def __init__(self, root: Path, key: str) -> None:
        super().__init__(root)
        self.key, self.reached, self.go_on = key, threading.Event(), threading.Event()

    def put(self, key: str, data: bytes) -> ObjectRef:
        self._pause(key)
        return super().put(key, data)

    def put_file(self, key: str, path: Path) -> ObjectRef:
        self._pause(key)
        return super().put_file(key, path)

    def _pause(self, key: str) -> None:
        if key.endswith(self.key):
            self.reached.set()
            assert self.go_on.wait(60)


@pytest.mark.parametrize("paused_at", ["rows.jsonl", "events.jsonl", "job.json"])
def test_an_archive_of_an_older_ending_never_replaces_a_newer_one(url: str, tmp_path: Path, paused_at: str) -> None:
    store, objects = open_jobs(url), Held(tmp_path / "objects", paused_at)
    job = add_job(store, writing(1))
    assert claim(store, job, lease_s=60) == "ok"
    store.fail(job, "write", 0, token="t", error=ErrorInfo(code="boom", message="no"), pause_s=0)
    store.end(job, "failed", ErrorInfo(code="boom", message="no"))
    late = threading.Thread(target=archive_job, args=(open_jobs(url, store.prefix), objects, job, store.plan(job)))
    late.start()
    assert objects.reached.wait(60)
    store.retry(job)
    assert claim(store, job, attempt=2, lease_s=60) == "ok"
    store.hand_back(job, "write", 0, token="t")
    store.cancel(job)
    assert store.end(job, "cancelled")
    plain = DirectoryStore(tmp_path / "objects")
    Archiver(store, plain).archive_stale(slice_s=60)
    newest = read_archived_job(plain, job), list(read_archived_shards(plain, job))
    objects.go_on.set()
    late.join(60)
    assert (read_archived_job(plain, job), list(read_archived_shards(plain, job))) == newest
    assert newest[0].job.status is JobStatus.CANCELLED and newest[0].job.epoch == 2
    assert json.loads(plain.get(f"jobs/{job}/job.2.json"))["job"]["epoch"] == 2


def test_leadership_is_over_when_redis_says_nothing(tmp_path: Path) -> None:
    with start_valkey(tmp_path / "valkey") as address:
        steps = open_jobs(address).steps
        leadership = Leadership(steps, 1.0)
        assert leadership.acquire() and leadership.leads
    wait_until(lambda: not leadership.leads, "the end of a term that nobody renews", limit_s=60, poll_s=0.05)
    with pytest.raises(SenseError):
        leadership.acquire()
