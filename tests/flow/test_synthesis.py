"""A synthesis job from its spec to its exports, through real sandbox children."""

import json
from typing import Any

import pytest

from shared.contracts.records import Example, SftRecord
from shared.contracts.synthesis import WriteExamples
from shared.errors import InvalidInputError, UnavailableError
from shared.jobs.state import JobStatus, ShardState
from shared.tasks.task import Shard
from tests.flow import harness
from tests.flow.conftest import StartStack
from tests.flow.harness import Stack

SPEC: dict[str, Any] = {"kind": "synthesis", "train": {"sft": [{"synthesis": 12, "per_shard": 4}]}}


def exports(stack: Stack, job: str) -> dict[str, bytes]:
    return {name: stack.output(job, "collect.train", name) for name in ("sft", "examples", "rejected", "card")}


def test_the_same_seed_gives_the_same_bytes_in_any_order(start_stack: StartStack) -> None:
    straight = start_stack()
    first = straight.succeed(SPEC)
    rows = [SftRecord.model_validate_json(line) for line in straight.output(first, "collect.train", "sft").splitlines()]
    assert len(rows) == straight.counts(first, "collect.train")["examples"] > 8
    second = straight.succeed(SPEC)
    assert exports(straight, second) == exports(straight, first)
    shuffled = start_stack(seed=5, objects="elsewhere")
    third = shuffled.succeed(SPEC)
    assert shuffled.worked != straight.worked[: len(shuffled.worked)]
    assert exports(shuffled, third) == exports(straight, first)
    other = straight.succeed(SPEC | {"seed": 8})
    assert exports(straight, other)["sft"] != exports(straight, first)["sft"]


def test_repeated_facts_and_a_restart_in_the_middle_change_nothing(start_stack: StartStack) -> None:
    calm = start_stack()
    expected = calm.succeed(SPEC)
    stormy = start_stack(seed=3, objects="elsewhere")
    job = stormy.submit(SPEC)
    for _ in range(200):
        if stormy.jobs.job(job).status.terminal:
            break
        stormy.orchestrator.step()
        stormy.messages.waiting += stormy.messages.waiting[:2]
        stormy.work(most=2)
        stream = f"{stormy.jobs.prefix}events"
        for _, fields in stormy.jobs.client.xrange(stream, count=6):
            stormy.jobs.client.xadd(stream, fields)
        stormy.restart()
    assert stormy.jobs.job(job).status is JobStatus.SUCCEEDED
    assert stormy.names(job) == calm.names(expected)
    assert exports(stormy, job) == exports(calm, expected)


def test_facts_that_are_lost_are_covered_by_the_sweep(start_stack: StartStack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = start_stack()
    monkeypatch.setattr("services.orchestrator.loop.SWEEP_S", 0.0)
    monkeypatch.setattr(stack.orchestrator.events, "read", lambda **_: [])
    job = stack.succeed(SPEC)
    assert stack.counts(job, "verify.train")["accepted"] >= 12


def test_the_archive_holds_every_row_and_fact(start_stack: StartStack) -> None:
    stack = start_stack()
    job = stack.succeed(SPEC)
    rows = [json.loads(line) for line in stack.objects.get(f"jobs/{job}/rows.jsonl").splitlines()]
    assert [(row["stage"], row["shard"], row["attempt"]) for row in rows] == stack.names(job)
    assert {row["state"] for row in rows} == {"done"}
    record = json.loads(stack.objects.get(f"jobs/{job}/job.json"))
    assert record["job"]["status"] == "succeeded"
    assert record["stages"]["collect.train"]["counts"] == stack.counts(job, "collect.train")
    assert [stage["id"] for stage in record["plan"]["stages"]] == list(record["stages"])
    facts = [json.loads(line)["name"] for line in stack.objects.get(f"jobs/{job}/events.jsonl").splitlines()]
    assert facts[0] == "job.submitted" and facts[-1] == "job.succeeded"
    assert facts.count("examples.verified") == sum(row["stage"] == "verify.train" for row in rows)
    assert stack.jobs.stale() == {}


def test_an_object_store_that_was_away_gets_the_archive_later(
    start_stack: StartStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = start_stack()
    job = stack.submit(SPEC)

    def away(*_: object) -> None:
        raise UnavailableError("the object store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr("services.orchestrator.archive.archive_job", away)
        assert stack.run(job).status is JobStatus.SUCCEEDED
    assert not stack.objects.exists(f"jobs/{job}/job.json")
    stack.restart()
    stack.orchestrator.step()
    assert stack.objects.exists(f"jobs/{job}/job.json")


def test_lineage_leads_from_a_row_to_its_writer(start_stack: StartStack) -> None:
    stack = start_stack()
    job = stack.succeed(SPEC)
    examples = [
        Example.model_validate_json(line) for line in stack.output(job, "collect.train", "examples").splitlines()
    ]
    for example in examples:
        assert example.provenance.writer == "grammar" and example.provenance.seed == 7
        assert stack.objects.exists(f"databases/{example.database_id}.sqlite")
        assert stack.objects.exists(f"databases/{example.database_id}.json")


class Breaking:
    """A writer whose shard 1 is broken until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.whole = harness.WORK["synthesis.write_examples"]

    def __call__(self, command: WriteExamples, shard: Shard) -> Any:
        if command.shard == 1 and not self.mended:
            raise InvalidInputError("shard one is broken; mend it")
        return self.whole(command, shard)


def test_a_failed_job_names_its_shard_and_a_retry_finishes_it(
    start_stack: StartStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = start_stack(objects="elsewhere")
    bytes_of = exports(expected, expected.succeed(SPEC))
    stack, writer = start_stack(), Breaking()
    monkeypatch.setitem(harness.WORK, "synthesis.write_examples", writer)
    job = stack.submit(SPEC)
    record = stack.run(job)
    assert record.status is JobStatus.FAILED and record.error is not None
    assert record.error.message == "stage write.train lost shard 1 after 1 attempt(s): shard one is broken; mend it"
    settle(stack)
    archived = [json.loads(line) for line in stack.objects.get(f"jobs/{job}/rows.jsonl").splitlines()]
    assert not {"queued", "running"} & {row["state"] for row in archived}
    writer.mended = True
    stack.jobs.retry(job)
    assert stack.run(job).status is JobStatus.SUCCEEDED
    assert exports(stack, job) == bytes_of
    again = json.loads(stack.objects.get(f"jobs/{job}/job.2.json"))
    assert (again["job"]["status"], again["job"]["epoch"]) == ("succeeded", 2)


def settle(stack: Stack) -> None:
    """Lets what a finished job left behind come to rest."""
    for _ in range(4):
        stack.work()
        stack.orchestrator.next_sweep = 0.0
        stack.orchestrator.step()


def test_a_cancelled_job_ends_archived_and_runs_on_after_a_retry(start_stack: StartStack) -> None:
    stack = start_stack()
    job = stack.submit(SPEC)
    stack.orchestrator.step()
    stack.work(most=1)
    stack.orchestrator.step()
    stack.jobs.cancel(job)
    assert stack.run(job).status is JobStatus.CANCELLED
    assert {row.state for row in stack.jobs.shards(job, "write.train")} == {ShardState.DONE, ShardState.CANCELLED}
    assert stack.objects.exists(f"jobs/{job}/job.json")
    stack.jobs.retry(job)
    assert stack.run(job).status is JobStatus.SUCCEEDED


def test_a_job_cancelled_before_its_plan_ends(start_stack: StartStack) -> None:
    stack = start_stack()
    job = stack.submit(SPEC)
    stack.jobs.cancel(job)
    assert stack.run(job).status is JobStatus.CANCELLED


def test_a_spec_without_a_plan_fails_its_job_alone(start_stack: StartStack) -> None:
    stack = start_stack()
    broken = stack.submit({"kind": "evaluation", "models": ["Not A Name"]})
    record = stack.run(broken)
    assert record.status is JobStatus.FAILED and record.error is not None
    assert record.error.code == "invalid_input" and "plan" in record.error.message
    stack.succeed(SPEC)


def test_two_jobs_share_the_queue(start_stack: StartStack) -> None:
    stack = start_stack(seed=1)
    first, second = stack.submit(SPEC), stack.submit(SPEC | {"seed": 9})
    for job in (first, second):
        assert stack.run(job).status is JobStatus.SUCCEEDED
    assert {row.state for job in (first, second) for row in stack.jobs.shards(job, "verify.train")} == {ShardState.DONE}
