"""Strong data from an endpoint at its worst, on a real stack: the amount is reached, every loss has its reason, and a
kill of the worker repeats no call that was answered and recorded. The large one is a `bench`: `pytest -m bench`."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from shared.contracts.records import Example, RejectedExample
from shared.jobs.state import ShardState
from shared.llm.messages import RecordedAnswer
from shared.storage.keys import answer_key
from tests.support.faults import Fault, FaultPlan
from tests.support.nasty_writer import nasty_writer, never_in_form
from tests.support.openai_server import OpenAiServer
from tests.support.s3_server import free_ports
from tests.support.stack import Stack, json_lines, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
LEASE_S = 3.0
AMOUNT = 60
FAULTS = {
    Fault.RATE_LIMIT: 0.03,
    Fault.SERVER_ERROR: 0.03,
    Fault.OVERLOADED: 0.03,
    Fault.RESET: 0.03,
    Fault.STALL: 0.01,
    Fault.TRUNCATED: 0.03,
    Fault.MALFORMED: 0.03,
    Fault.HTML: 0.02,
    Fault.EMPTY_CHOICES: 0.02,
    Fault.CONTENT_FILTER: 0.02,
}


def spec(amount: int, endpoint: str = "nasty", **strong: Any) -> dict[str, Any]:
    return {
        "kind": "synthesis",
        "name": "strong",
        "train": {"sft": [{"synthesis": amount, "per_shard": max(20, amount // 4)}]},
        "strong": {"endpoint": endpoint, "model": "s", **strong},
    }


@dataclass(frozen=True)
class World:
    """One stack, and the endpoints that it pays."""

    stack: Stack
    nasty: OpenAiServer
    chatty: OpenAiServer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        OpenAiServer(nasty_writer, faults=FaultPlan(rates=FAULTS, seed=4), latency_s=0.1, models=["s"]) as nasty,
        OpenAiServer(never_in_form, models=["s"], api_key="right") as chatty,
        running_stack(
            tmp_path_factory.mktemp("strong") / "state",
            SENSE_LEASE_SECONDS=str(LEASE_S),
            SENSE_LEASE_RETRY_PAUSE_S="0.2",
            SENSE_ENDPOINT_NASTY_BASE_URL=nasty.base_url,
            SENSE_ENDPOINT_NASTY_TIMEOUT_S="4",
            SENSE_ENDPOINT_NASTY_USD_PER_MILLION_IN="1",
            SENSE_ENDPOINT_NASTY_USD_PER_MILLION_OUT="2",
            SENSE_ENDPOINT_CHATTY_BASE_URL=chatty.base_url,
            SENSE_ENDPOINT_CHATTY_API_KEY="right",
            SENSE_ENDPOINT_LOCKED_BASE_URL=chatty.base_url,
            SENSE_ENDPOINT_LOCKED_API_KEY="wrong",
            SENSE_ENDPOINT_DOWN_BASE_URL=f"http://127.0.0.1:{free_ports(1)[0]}/v1",
        ) as stack,
    ):
        yield World(stack, nasty, chatty)


def counts_of(stack: Stack, job_id: str) -> dict[str, dict[str, int]]:
    plan = stack.jobs.plan(job_id)
    assert plan is not None
    return {name: state.counts for name, state in stack.jobs.stage_states(job_id, plan).items()}


def check_account(stack: Stack, job_id: str, amount: int) -> None:
    """Asked = accepted + every rejection by its reason; the exports say the same as the counts."""
    counts = counts_of(stack, job_id)
    write, build, verify = counts["write.train"], counts["build.train"], counts["verify.train"]
    collect = counts["collect.train"]
    rows = list(stack.jobs.shards(job_id, "write.train"))
    asked = sum(row.params["count"] for row in rows)
    assert {row.state for row in rows} == {ShardState.DONE}
    assert asked == write["written"] + write["unparsed"] + write["refused"] + write["unasked"]
    assert write["unasked"] == 0
    assert write["written"] == build["built"] + build["rejected"]
    assert build["built"] == verify["accepted"] + verify["rejected"]
    examples = [
        Example.model_validate(one) for one in json_lines(stack.export(job_id, "collect.train", "examples.jsonl"))
    ]
    assert len(examples) == len({one.example_id for one in examples}) == collect["examples"] == amount
    rejected = [
        RejectedExample.model_validate(one)
        for one in json_lines(stack.export(job_id, "collect.train", "rejected.jsonl"))
    ]
    reasons = Counter(one.reason for one in rejected)
    assert all(one.detail or one.reason for one in rejected)
    early = write["unparsed"] + write["refused"] + build["rejected"] + verify["rejected"]
    late = collect["duplicates"] + collect["near_duplicates"] + collect["leaked"]
    assert sum(reasons.values()) == early + late
    surplus = verify["accepted"] - late - amount
    assert surplus >= 0, "accepted = kept + duplicates + leaked + what came over the amount"
    print(f"asked {asked}, kept {amount}, surplus {surplus}, {dict(collect)}, {dict(reasons)}")
    card = stack.export(job_id, "collect.train", "card.md").decode()
    assert "Ended early" not in card and f"{amount} training examples" in card


def kill_while_buying(world: World, job_id: str, done: int) -> dict[str, int]:
    """SIGKILL of the synthesis worker and its task while calls fly; how often each recorded answer was asked for."""
    stack = world.stack
    worker = psutil.Process(stack.pid("worker-synthesis"))
    stack.remember()
    wait_until(
        lambda: world.nasty.sold.total() >= done and world.nasty.open_calls > 0,
        "calls in flight",
        limit_s=120,
        poll_s=0.002,
    )
    for process in [worker, *worker.children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)
    root = stack.objects.root
    recorded = {key.removeprefix("answers/").removesuffix(".json") for key in stack.objects.list("answers/")}
    assert recorded and root.exists()
    with world.nasty.lock:
        return {hashed: world.nasty.calls[hashed] for hashed in recorded}


def run_with_kill(world: World, amount: int, limit_s: float) -> str:
    """The job, killed in its middle, with its account checked; its id."""
    job_id = world.stack.client.submit(spec(amount)).id
    before = kill_while_buying(world, job_id, amount // 3)
    job = world.stack.wait(job_id, limit_s=limit_s)
    assert job.status == "succeeded", job.error
    check_account(world.stack, job_id, amount)
    again = {hashed: world.nasty.calls[hashed] for hashed in before}
    assert again == before, "an answer that was recorded before the kill was asked for again"
    assert [row for row in world.stack.jobs.shards(job_id, "write.train") if row.attempt > 1]
    for hashed in world.nasty.sold:
        answer = RecordedAnswer.model_validate_json(world.stack.objects.get(answer_key(hashed)))
        assert answer.texts
    return job_id


def exports(stack: Stack, job_id: str) -> dict[str, bytes]:
    names = ("examples.jsonl", "sft.jsonl", "rejected.jsonl", "card.md")
    return {name: stack.export(job_id, "collect.train", name) for name in names}


def test_the_amount_is_reached_through_faults_attacks_and_a_kill_and_again_from_recorded_answers(world: World) -> None:
    first = run_with_kill(world, AMOUNT, limit_s=180)
    assert len(world.nasty.faults_done) >= 6
    before = world.nasty.arrived
    again = world.stack.succeed(spec(AMOUNT), limit_s=120)
    assert exports(world.stack, again.id) == exports(world.stack, first)
    assert world.nasty.arrived == before, "recorded answers were bought again"
    paid = counts_of(world.stack, again.id)["write.train"]
    assert (paid["calls"], paid["micro_usd"], paid["completion_tokens"]) == (0, 0, 0)


@pytest.mark.bench
def test_five_hundred(world: World) -> None:
    run_with_kill(world, 500, limit_s=500)


def test_a_budget_that_does_not_reach_ends_the_job_early_with_what_there_is(world: World) -> None:
    job = world.stack.succeed({**spec(AMOUNT, budget_usd=0.09), "seed": 11}, limit_s=120)
    counts = counts_of(world.stack, job.id)
    write, collect = counts["write.train"], counts["collect.train"]
    assert 0 < write["micro_usd"] <= 90_000
    assert write["unasked"] > 0
    assert 0 < collect["examples"] == AMOUNT - collect["short"]
    card = world.stack.export(job.id, "collect.train", "card.md").decode()
    assert f"Ended early: {collect['short']} of {AMOUNT} examples are missing" in card and "budget" in card


@pytest.mark.parametrize(
    ("endpoint", "strong", "said"),
    [
        ("locked", {}, ["'locked' refuses its key", "set a valid key"]),
        ("chatty", {"model": "t"}, ["'chatty' does not know model 't'", "check the model's name"]),
        ("chatty", {}, ["'s' at endpoint 'chatty'", "in none of 40 answers", "Name another model"]),
        ("nasty", {"budget_usd": 0.000001}, ["'nasty'", "could exceed the budget", "a larger one"]),
        ("chatty", {"budget_tokens": 10}, ["'chatty'", "could exceed the budget", "of 10 tokens"]),
        ("chatty", {"budget_usd": 1.0}, ["'chatty' has no prices", "usd_per_million_in"]),
    ],
)
def test_what_cannot_work_is_told_and_ends(
    world: World, endpoint: str, strong: dict[str, Any], said: list[str]
) -> None:
    calls = world.chatty.arrived + world.nasty.arrived
    job_id = world.stack.client.submit({**spec(AMOUNT, endpoint, **strong), "seed": 20 + len(str(strong))}).id
    job = world.stack.wait(job_id, limit_s=60)
    assert job.status == "failed" and job.error is not None
    text = json.dumps(job.error) if isinstance(job.error, dict) else str(job.error)
    assert all(words in text for words in said), text
    assert world.chatty.arrived + world.nasty.arrived - calls <= 48
