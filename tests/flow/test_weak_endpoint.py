"""Pairing over datasets from a weak model that answers anything: what is good comes out, the rest is counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.benchmarks.importing.dataset import examples_of, head_of
from services.benchmarks.importing.gold_health import check_golds
from services.benchmarks.importing.source import ImportRequest, read_source
from services.gateway.datasets.service import open_upload
from services.sandbox.building.databases import store_database
from services.sandbox.execution.pool import SandboxPool
from shared.contracts.pairing import ErrorProfile
from shared.contracts.records import DpoRecord, JudgedCandidate, Policy, SuspectGold
from shared.llm.client import RetryPolicy
from shared.storage.records import read_records
from shared.storage.store import ObjectStore
from tests.flow.conftest import StartStack
from tests.flow.harness import Stack
from tests.support.datasets import make_databases, write_lines
from tests.support.faults import Fault, FaultPlan
from tests.support.openai_server import OpenAiServer, Request
from tests.support.writers import asked_question

StartServer = Callable[..., OpenAiServer]
Weak = Callable[[Request], list[str]]
GOOD = "SELECT name FROM singer WHERE age > 30"
WRONG = "SELECT name FROM singer WHERE age < 30"
PAGE = "<!doctype html><html><body>Sign in to select a plan</body></html>"
PROSE = "I am sorry, but the tables do not tell me enough."


def question(number: int, gold: str = GOOD) -> dict[str, Any]:
    return {"question": f"Question {number}?", "db": "singers", "sql": gold, "split": "train"}


def bring(objects: ObjectStore, folder: Path, rows: list[dict[str, Any]], policy: Policy) -> None:
    """A dataset with an official policy, stored without its health: its golds run for the first time when judged."""
    make_databases(folder / "databases")
    source = read_source(ImportRequest("custom", write_lines(folder / "q.jsonl", rows)))
    with SandboxPool(1) as pool, open_upload(objects) as intake:
        head = head_of(source, "mine", check_golds(source, pool, lambda _count: None), None)
        head = head.model_copy(update={"policy": policy, "health": None})
        examples = examples_of(source, [None] * len(rows))
        for one in {one.domain: one for one in examples}.values():
            store_database(objects, source.databases.files[one.domain], one.database_id, pool)
        intake.add("\n".join([head.model_dump_json(), *(row.model_dump_json() for row in examples)]).encode())
        intake.close()


def spec(**pairs: Any) -> dict[str, Any]:
    return {
        "kind": "pairing",
        "train": {"sft": [{"dataset": "mine"}]},
        "weak": {"endpoint": "weak", "model": "w", "samples": 4},
        "pairs": {"suite_databases": 0, **pairs},
    }


@pytest.fixture
def serve(openai_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpenAiServer]:
    def start(weak: Weak, **fields: Any) -> OpenAiServer:
        server = openai_server(weak, models=("w",), **fields)
        monkeypatch.setenv("SENSE_ENDPOINT_WEAK_BASE_URL", server.base_url)
        return server

    return start


def answers(by_question: dict[str, list[str]], otherwise: list[str]) -> Weak:
    def weak(request: Request) -> list[str]:
        return by_question.get(asked_question(request), otherwise)

    return weak


def dpo(stack: Stack, job: str) -> list[DpoRecord]:
    lines = stack.output(job, "collect.preferences", "dpo").splitlines()
    return [DpoRecord.model_validate_json(line) for line in lines]


def test_the_data_sets_own_policy_is_asked_too(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    stack = start_stack()
    columns, kinds = "SELECT name, age FROM singer", "SELECT age / 100 FROM singer"
    rows = [question(1), question(2, columns), question(3, kinds), question(4, "SELECT nam FROM singer")]
    bring(stack.objects, tmp_path, rows, Policy.BIRD)
    serve(
        answers(
            {
                "Question 1?": [f"{GOOD};", f"{GOOD} -- all", WRONG, "SELECT nam FROM singer"],
                "Question 2?": ["SELECT age, name FROM singer", WRONG, WRONG, PROSE],
                "Question 3?": [kinds, "SELECT DISTINCT age / 100 FROM singer", PROSE, PROSE],
            },
            [GOOD] * 4,
        )
    )
    job = stack.succeed(spec())
    (row,) = dpo(stack, job)
    assert (row.chosen[0].content, row.judged_by) == (GOOD, [Policy.BIRD, Policy.STRICT])
    assert row.dataset is not None and row.dataset.startswith("mine@")
    judged = stack.counts(job, "judge")
    assert (judged["correct"], judged["disputed"], judged["gold_failed"]) == (3, 2, 4)
    built = stack.counts(job, "pair")
    assert (built["pairs"], built["gold_failed"], built["excluded_gold"], built["all_correct"]) == (1, 1, 1, 1)
    assert built["none_correct"] == 1 and built["unpaired"] == 5
    lines = [
        one
        for ref in stack.jobs.outputs(job, "judge", "judged")
        for one in read_records(stack.objects, ref, JudgedCandidate)
    ]
    assert all(set(one.verdicts) == {Policy.BIRD, Policy.STRICT} for one in lines)
    assert any(one.program for one in lines) and all(one.gold for one in lines)
    profile = ErrorProfile.model_validate_json(stack.output(job, "collect.preferences", "profile"))
    assert {line.name for line in profile.outcomes} == {"ok", "unknown_column", "unextractable"}
    assert "the gold does not run" in stack.output(job, "collect.preferences", "card").decode()


def test_suspect_golds_are_listed_with_their_questions(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(1), question(2)], Policy.SPIDER)
    serve(answers({"Question 2?": [WRONG, WRONG, WRONG, PROSE]}, [GOOD] * 4))
    job = stack.succeed(spec(policy="gold_chosen"))
    assert stack.counts(job, "collect.preferences") | {"suspect_golds": 1, "pairs": 0} == stack.counts(
        job, "collect.preferences"
    )
    (line,) = stack.output(job, "collect.preferences", "suspects").splitlines()
    suspect = SuspectGold.model_validate_json(line)
    assert (suspect.question, suspect.gold, suspect.other) == ("Question 2?", GOOD, WRONG)
    assert (suspect.agreeing, suspect.samples) == (3, 4)
    assert "## Suspect golds" in stack.output(job, "collect.preferences", "card").decode()


def test_whatever_a_model_says_is_counted_and_bounded(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(number) for number in range(1, 8)], Policy.SPIDER)
    said = {
        "Question 1?": [GOOD, WRONG, GOOD, WRONG],
        "Question 2?": [PROSE] * 4,
        "Question 3?": [PAGE, PAGE, GOOD, GOOD],
        "Question 4?": [""] * 4,
        "Question 6?": ["SELECT " + "name, " * 10_000 + "name FROM singer", GOOD, GOOD, "word " * 10_000],
    }

    def weak(request: Request) -> list[str]:
        asked = asked_question(request)
        return (
            [request["messages"][-1]["content"]] * 4 if asked == "Question 5?" else said.get(asked, [GOOD, WRONG] * 2)
        )

    serve(weak)
    job = stack.succeed(spec(policy="all_capped"))
    rows = dpo(stack, job)
    assert {row.rejected[0].content for row in rows if row.chosen[0].content == GOOD} >= {WRONG}
    assert len({row.example_id for row in rows}) == 3 - 1 + (any("plan" in row.rejected[0].content for row in rows)), (
        "questions 1 and 7; and 3, should a share of unparsed answers be left"
    )
    sampled, built = stack.counts(job, "sample"), stack.counts(job, "pair")
    assert sampled["candidates"] == 28 and sampled["unextractable"] >= 9
    assert built["length_ratio"] == 1, "ten thousand tokens against six words"
    assert built["questions"] == 7


@pytest.mark.parametrize("fault", [Fault.CONTENT_FILTER, Fault.CONTEXT_LENGTH])
def test_a_refused_question_costs_that_question_only(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer], fault: Fault
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(number) for number in range(1, 5)], Policy.SPIDER)
    serve(answers({}, [GOOD, WRONG] * 2), faults=FaultPlan(first=[fault]))
    job = stack.succeed(spec())
    assert stack.counts(job, "sample")["refused"] == 1
    assert stack.counts(job, "collect.preferences")["pairs"] == 3


def test_an_endpoint_that_gives_pages_and_broken_lines_at_times_is_asked_again(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(number) for number in range(1, 5)], Policy.SPIDER)
    faults = [Fault.HTML, Fault.EMPTY_CHOICES, Fault.TRUNCATED, Fault.MALFORMED, Fault.RESET]
    server = serve(answers({}, [GOOD, WRONG] * 2), faults=FaultPlan(first=faults))
    job = stack.succeed(spec())
    assert len(server.bodies) == 4 + len(faults)
    assert stack.counts(job, "sample")["refused"] == 0
    assert stack.counts(job, "collect.preferences")["pairs"] == 4


@pytest.mark.parametrize("lost_allowed", [0, 1])
def test_an_endpoint_that_dies_half_way_leaves_what_is_good_or_says_why_not(
    start_stack: StartStack,
    tmp_path: Path,
    serve: Callable[..., OpenAiServer],
    monkeypatch: pytest.MonkeyPatch,
    lost_allowed: int,
) -> None:
    monkeypatch.setattr("shared.llm.client.RetryPolicy", lambda: RetryPolicy(base_s=0.01))
    monkeypatch.setattr("services.orchestrator.planning.pairs.ENDPOINT_SAMPLED_PER_SHARD", 24)
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(number) for number in range(1, 31)], Policy.SPIDER)
    serve(answers({}, [GOOD, WRONG] * 2), faults=FaultPlan(first=[None] * 26 + [Fault.RESET] * 500))
    record = stack.run(stack.submit(spec() | {"lost_allowed": lost_allowed}))
    if lost_allowed:
        assert record.status == "succeeded"
        assert stack.counts(record.id, "collect.preferences")["pairs"] == 24
    else:
        assert record.status == "failed" and record.error is not None
        assert "stage sample lost shard 1" in record.error.message and "'weak'" in record.error.message
        assert stack.counts(record.id, "sample")["candidates"] == 96, "what was bought is kept"


def test_a_sweep_takes_the_temperature_with_the_most_pairs_in_it(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(number) for number in range(1, 13)], Policy.SPIDER)

    def weak(request: Request) -> list[str]:
        return [GOOD, WRONG] * 2 if request["temperature"] == 0.8 else [GOOD] * 4

    server = serve(weak)
    sweep = {"sweep": [0.6, 0.8, 1.0], "sweep_questions": 8}
    job = stack.succeed(spec() | {"weak": {**spec()["weak"], **sweep}})
    assert stack.counts(job, "sweep") == {"questions": 8, "mixed": 8, "temperature_milli": 800}
    assert stack.counts(job, "collect.preferences")["pairs"] == 12
    asked = [body["temperature"] for body in server.bodies]
    assert (asked.count(0.6), asked.count(1.0), asked.count(0.8)) == (8, 8, 12), "what the sweep bought is used again"


def test_a_server_with_ways_of_its_own_is_asked_as_it_wants(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    """One choice a call, a temperature of its own, content in chunks with a thought, a statement with an empty line."""
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(number) for number in range(3)], Policy.STRICT)
    said = [GOOD.replace(" WHERE", "\n\nWHERE"), GOOD, WRONG, GOOD.replace("name", "age")]

    def quirk(request: Request) -> tuple[int, Any] | None:
        if "temperature" in request:
            message = "Unsupported value: 'temperature' does not support 1.0 with this model."
            return 400, {"error": {"message": message, "param": "temperature", "code": "unsupported_value"}}
        text = said[request["seed"] % 4]
        chunks = [{"type": "thinking", "thinking": "SELECT 0"}, {"type": "text", "text": f"```sql\n{text};\n```"}]
        choice = {"index": 0, "message": {"role": "assistant", "content": chunks}, "finish_reason": "stop"}
        return 200, {"model": "w", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}

    server = serve(lambda _request: [], quirk=quirk)
    job = stack.succeed(spec())
    sampled, judged = stack.counts(job, "sample"), stack.counts(job, "judge")
    assert (sampled["candidates"], sampled["without_temperature"], sampled["unextractable"]) == (12, 12, 0)
    assert (judged["correct"], judged["wrong"]) == (6, 6), "each seed's statement once a question"
    assert len(server.bodies) == 12 + sum("temperature" in body for body in server.bodies)
    assert sampled["prompt_tokens"] == 9 * 12


def test_reasoning_that_ate_all_tokens_is_told_as_cut_off(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(1)], Policy.STRICT)
    choice = {"index": 0, "message": {"content": None, "reasoning": "hm, SELECT 0"}, "finish_reason": "length"}
    serve(lambda _request: [], quirk=lambda _request: (200, {"choices": [choice] * 4}))
    job = stack.submit(spec())
    stack.run(job)
    sampled = stack.counts(job, "sample")
    assert (sampled["unextractable"], sampled["cut_off"]) == (4, 4)


def test_a_shape_that_cannot_be_read_is_bought_once_and_ends_the_job_with_the_reason(
    start_stack: StartStack, tmp_path: Path, serve: Callable[..., OpenAiServer]
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [question(1)], Policy.STRICT)
    server = serve(lambda _request: [], quirk=lambda _request: (200, {"choices": [{"message": {"content": 7}}]}))
    job = stack.submit(spec())
    record = stack.run(job)
    assert record.error is not None and "content that is int" in str(record.error)
    assert len(server.bodies) == 1
