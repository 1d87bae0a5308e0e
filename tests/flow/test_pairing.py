"""A pairing job with a strong and a weak model behind an OpenAI-compatible server."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.contracts.records import DpoRecord, Pair, SftRecord
from tests.flow.conftest import StartStack
from tests.flow.harness import Stack
from tests.support.openai_server import OpenAiServer, Request
from tests.support.writers import asked_question, request_rng, strong_writer, weak_writer

SPEC: dict[str, Any] = {
    "kind": "pairing",
    "train": {"sft": [{"synthesis": 8, "per_shard": 4}]},
    "strong": {"endpoint": "strong", "model": "m"},
    "weak": {"endpoint": "weak", "model": "w", "samples": 4},
}
StartServer = Callable[..., OpenAiServer]


class Models:
    """Both models on one server; the weak one knows the gold of what the strong one wrote."""

    def __init__(self, refusals: float = 0.0) -> None:
        self.gold: dict[str, str] = {}
        self.refusals = refusals

    def __call__(self, request: Request) -> list[str]:
        if request["model"] == "w":
            return list(weak_writer(self.gold)(request))
        if request_rng(request, "refuse").random() < self.refusals:
            return ["I cannot help with that."]
        return strong_writer(request)

    def learn(self, stack: Stack, job: str) -> None:
        """What a good student would know."""
        for row in stack.jobs.shards(job, "verify.train"):
            if "examples" in row.outputs:
                for line in stack.objects.get(row.outputs["examples"].key).splitlines():
                    example = json.loads(line)
                    self.gold[example["question"]] = example["gold"]


def play(stack: Stack, models: Models) -> str:
    """A job whose weak model learns the gold of each example as it is verified."""
    job = stack.submit(SPEC)
    send = stack.messages.send_task

    def learned(name: str, **fields: Any) -> None:
        models.learn(stack, job)
        send(name, **fields)

    stack.messages.send_task = learned  # type: ignore[method-assign]
    record = stack.run(job)
    assert record.status == "succeeded", record.error
    return job


@pytest.fixture
def serve(openai_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[Models], OpenAiServer]:
    def start(models: Models) -> OpenAiServer:
        server = openai_server(models, models=("m", "w"))
        for name in ("STRONG", "WEAK"):
            monkeypatch.setenv(f"SENSE_ENDPOINT_{name}_BASE_URL", server.base_url)
        return server

    return start


def test_pairs_come_out_and_recorded_answers_are_never_bought_again(
    start_stack: StartStack, serve: Callable[[Models], OpenAiServer]
) -> None:
    models = Models()
    server = serve(models)
    stack = start_stack()
    first = play(stack, models)
    pairs = [
        Pair.model_validate_json(line) for line in stack.output(first, "collect.preferences", "pairs").splitlines()
    ]
    rows = [
        DpoRecord.model_validate_json(line) for line in stack.output(first, "collect.preferences", "dpo").splitlines()
    ]
    assert len(pairs) == len(rows) == stack.counts(first, "collect.preferences")["pairs"] > 0
    assert all(
        pair.chosen != pair.rejected and pair.rejected_verdict in ("wrong", "error", "timeout") for pair in pairs
    )
    known = {asked_question({"messages": [row.prompt[-1].model_dump()]}) for row in rows}
    assert known <= set(models.gold)
    assert {row.source_model for row in rows} == {"w"}
    assert all(row.distance > 0 and row.answer_chosen and row.answer_rejected for row in rows)
    card = stack.output(first, "collect.preferences", "card").decode()
    assert f"{len(pairs)} pairs on" in card and "## What the weak model gets wrong" in card
    sft = [SftRecord.model_validate_json(line) for line in stack.output(first, "collect.train", "sft").splitlines()]
    assert {row.writer for row in sft} == {"llm"}
    sampled = stack.counts(first, "sample")
    assert (
        sampled["candidates"]
        == 4 * sampled["questions"]
        == sum(count for name, count in stack.counts(first, "judge").items() if name != "candidates")
    )
    assert sampled["prompt_tokens"] > 0

    bought = sum(server.calls.values())
    assert bought == len(server.calls), "no call was made twice"
    again = start_stack(seed=4)
    second = play(again, models)
    assert sum(server.calls.values()) == bought, "every answer was recorded"
    assert again.output(second, "collect.train", "sft") == stack.output(first, "collect.train", "sft")
    for name in ("dpo", "chosen", "pairs", "suspects", "profile", "card"):
        assert again.output(second, "collect.preferences", name) == stack.output(first, "collect.preferences", name)
    assert again.counts(second, "sample")["prompt_tokens"] == 0, "what was recorded costs nothing"


def test_answers_without_an_example_are_counted_and_the_target_is_reached(
    start_stack: StartStack, serve: Callable[[Models], OpenAiServer]
) -> None:
    models = Models(refusals=0.4)
    serve(models)
    stack = start_stack()
    job = play(stack, models)
    written = stack.counts(job, "write.train")
    assert written["unparsed"] > 0
    assert stack.counts(job, "verify.train")["accepted"] >= 8
    rejected = stack.output(job, "collect.train", "rejected").decode()
    assert rejected.count('"reason":"answer_') == written["unparsed"]
    assert "| parse | answer_" in stack.output(job, "collect.train", "card").decode()


def test_an_endpoint_that_is_not_set_fails_the_job_with_a_sentence(start_stack: StartStack) -> None:
    stack = start_stack()
    record = stack.run(stack.submit(SPEC | {"strong": {"endpoint": "nowhere", "model": "m"}}))
    assert record.status == "failed" and record.error is not None
    assert "'nowhere' is not set on this server" in record.error.message
