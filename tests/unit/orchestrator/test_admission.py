"""Many jobs at once: which are worked on, in which order, and how much a round does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.orchestrator import loop
from services.orchestrator.loop import Orchestrator
from shared.jobs.plan import JobPlan
from shared.jobs.state import JobStatus
from shared.jobs.store import JobStore
from shared.storage.directory import DirectoryStore
from tests.unit.jobs.helpers import building, open_jobs, writing
from tests.unit.orchestrator.test_isolation import Lab
from tests.unit.tasks.conftest import jobs, module_redis_url

__all__ = ["jobs", "module_redis_url"]
MOST = 3


@pytest.fixture
def lab(jobs: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("SENSE_ORCHESTRATOR_MOST_JOBS", str(MOST))
    monkeypatch.setattr(loop, "SWEEP_S", 0.0)
    monkeypatch.setattr(loop, "BLOCK_MS", 1)
    made = Lab(jobs, DirectoryStore(tmp_path / "objects"))
    for job in (made.innocent, made.victim):
        jobs.end(job, "cancelled")
    yield made


def compiled(lab: Lab, ids: list[str]) -> list[str]:
    return [job for job in ids if lab.store.client.hexists(lab.store.key("job", job), "plan")]


def rounds(lab: Lab, number: int = 12) -> None:
    for _ in range(number):
        lab.orchestrator.advance_some()


def test_jobs_wait_for_room_oldest_first(lab: Lab) -> None:
    ids = [lab.submit(planned=False) for _ in range(10)]
    rounds(lab)
    assert compiled(lab, ids) == ids[:MOST]
    lab.store.cancel(ids[1])
    rounds(lab)
    assert compiled(lab, ids) == ids[: MOST + 1]
    assert lab.store.job(ids[1]).status is JobStatus.CANCELLED
    assert {lab.store.job(job).status for job in ids[MOST + 1 :]} == {JobStatus.QUEUED}


@pytest.mark.parametrize("told", [True, False], ids=["by a fact", "by the sweep alone"])
def test_a_job_that_waits_is_cancelled_without_a_plan(lab: Lab, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [lab.submit(planned=False) for _ in range(6)]
    rounds(lab)
    if not told:
        monkeypatch.setattr(lab.orchestrator.events, "read", lambda **_: [])
    lab.store.cancel(ids[-1])
    rounds(lab)
    assert lab.store.job(ids[-1]).status is JobStatus.CANCELLED
    assert compiled(lab, ids) == ids[:MOST]


def test_another_orchestrator_goes_on_with_the_same_jobs(lab: Lab, tmp_path: Path) -> None:
    ids = [lab.submit(planned=False) for _ in range(8)]
    rounds(lab)
    lab.store.cancel(ids[0])
    other = Orchestrator(lab.store, lab.objects, lab.orchestrator.events, lab.orchestrator.dispatcher)
    for _ in range(12):
        other.advance_some()
    assert compiled(lab, ids) == ids[: MOST + 1]


def test_a_job_with_a_plan_is_worked_on_whatever_waits(lab: Lab) -> None:
    for _ in range(6):
        lab.submit(planned=False)
    rounds(lab)
    planned = lab.submit()
    rounds(lab)
    assert lab.store.sums(planned, "write").total == 2


def test_a_plan_that_another_stored_meanwhile_is_the_one_that_is_used(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, theirs = lab.submit(planned=False), JobPlan(stages=[writing(5), building()])

    def compile_late(*args: object) -> JobPlan:
        assert open_jobs_of(lab).set_plan(job, theirs)
        return JobPlan(stages=[writing(1, stage="mine")])

    monkeypatch.setattr(loop, "compile_spec", compile_late)
    rounds(lab)
    assert lab.store.plan(job) == theirs
    assert lab.store.sums(job, "write").total == 5
    assert lab.store.sums(job, "mine").total == 0


def open_jobs_of(lab: Lab) -> JobStore:
    """The same store as another process has it."""
    address = lab.store.client.connection_pool.connection_kwargs
    return open_jobs(f"redis://{address['host']}:{address['port']}/0", lab.store.prefix)


def test_a_sweep_goes_on_where_the_round_before_had_no_time_left(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [lab.submit() for _ in range(5)]
    monkeypatch.setattr(lab.orchestrator.events, "read", lambda **_: [])
    monkeypatch.setattr(loop, "SLICE_S", 0.0)
    seen: list[str] = []
    plain = lab.orchestrator.advance_job
    monkeypatch.setattr(
        lab.orchestrator, "advance_job", lambda job, *args, **words: (seen.append(job), plain(job, *args, **words))
    )
    for number in range(1, 6):
        lab.orchestrator.advance_some()
        assert len(seen) == number, "a round does one job at the least, and no more than its time allows"
    assert sorted(seen) == sorted(ids)
    rounds(lab, 5)
    assert sorted(seen[5:]) == sorted(ids), "and then begins anew"
