"""Planted faults through a whole synthesis job: each is found by its gate and kept, and the counts add up."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from shared.contracts.records import DatabaseScript, Example, Provenance, RejectedExample, WrittenExample
from shared.contracts.spec import StrongModel
from tests.flow.conftest import StartStack
from tests.flow.harness import Stack
from tests.support.openai_server import OpenAiServer, Request
from tests.support.writers import render_written, strong_writer

SCHEMA = [
    "CREATE TABLE keeper (keeper_id INTEGER PRIMARY KEY, full_name TEXT NOT NULL, salary INTEGER)",
    "CREATE TABLE animal (animal_id INTEGER PRIMARY KEY, keeper_id INTEGER REFERENCES keeper(keeper_id), "
    "species TEXT, weight REAL)",
]
ROWS = [
    "INSERT INTO keeper VALUES (1, 'Ana Costa', 2100), (2, 'Ben Brandt', 2500), (3, 'Ines Haddad', 1900)",
    "INSERT INTO animal VALUES (1, 1, 'lynx', 21.5), (2, 1, 'otter', 8.0), (3, 2, 'lynx', 19.0), (4, 3, 'ibex', 70.5)",
]
SOURCE = Provenance(writer="llm", writer_version="x", seed=0, source="x")


def written(question: str, sql: str, ddl: list[str] = SCHEMA, inserts: list[str] = ROWS) -> str:
    """An answer of the strong model."""
    script = DatabaseScript(ddl=ddl, inserts=inserts)
    made = WrittenExample(domain="zoo", level="easy", question=question, sql=sql, database=script, provenance=SOURCE)
    return render_written(made)


GOOD = written("Which keepers earn more than 2000?", "SELECT full_name FROM keeper WHERE salary > 2000")
PLANTED = {
    GOOD: None,
    "I cannot help with that.": "answer_refused",
    written(
        "Which keepers are there?", "SELECT full_name FROM keeper", ["CREATE TABLE keeper (a, a)"]
    ): "schema_failed",
    written("Who has the name of a keeper?", "SELECT nick FROM keeper"): "gold_unknown_column",
    written("Which animals are lynxes?", "SELECT weight FROM animal WHERE species = 'otter'"): "question_sql_disagree",
    written("Is there any keeper at all?", "SELECT 1 FROM keeper LIMIT 1"): "gold_constant",
    written("What is one and one?", "SELECT 2"): "gold_constant",
    written("Which animals weigh more than 900 kilos?", "SELECT species FROM animal WHERE weight > 900"): "mended",
    written("How heavy is the heaviest animal?", "SELECT min(weight) FROM animal"): "judge_says_no",
    written("WHICH keepers earn more than 2000?", "SELECT full_name FROM keeper WHERE salary > 2000;"): "duplicate",
    written("Which keepers earn more than 2300?", "SELECT full_name FROM keeper WHERE salary > 2300"): "near_duplicate",
}


class Zoo:
    """A strong model that gives the planted answers, then good ones; and the judge, who reads for `min`."""

    def __init__(self) -> None:
        self.left = list(PLANTED)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()

    def __call__(self, request: Request) -> list[str]:
        text = request["messages"][-1]["content"]
        if "Answer with one word, yes or no" in text:
            self.asked["judge"] += 1
            return ["No. It asks for the heaviest."] if "SELECT min(weight)" in text else ["Yes."]
        with self.lock:
            self.asked["writer"] += 1
            return [self.left.pop(0)] if self.left else strong_writer(request)


@pytest.fixture
def played(
    start_stack: StartStack, openai_server: Callable[..., OpenAiServer], monkeypatch: pytest.MonkeyPatch
) -> tuple[Stack, str, Zoo]:
    zoo = Zoo()
    server = openai_server(zoo, models=("m",))
    monkeypatch.setenv("SENSE_ENDPOINT_STRONG_BASE_URL", server.base_url)
    stack = start_stack()
    strong: dict[str, Any] = {"endpoint": "strong", "model": "m", "judge": True}
    spec = {"kind": "synthesis", "strong": strong, "train": {"sft": [{"synthesis": 8, "per_shard": 11}]}}
    return stack, stack.succeed(spec), zoo


def test_each_fault_is_found_by_its_gate_and_the_counts_add_up(played: tuple[Stack, str, Zoo]) -> None:
    stack, job, zoo = played
    lines = stack.output(job, "collect.train", "rejected").splitlines()
    rejected = [RejectedExample.model_validate_json(line) for line in lines]
    reasons = Counter(row.reason for row in rejected)
    planted = Counter(reason for reason in PLANTED.values() if reason not in (None, "mended"))
    assert reasons >= planted
    assert all(row.written.question or row.reason == "answer_refused" for row in rejected)
    assert {row.gate for row in rejected if row.reason == "gold_constant"} == {"suite_databases"}
    judged = next(row for row in rejected if row.reason == "judge_says_no")
    assert (judged.gate, judged.detail) == ("judge", "It asks for the heaviest.")

    counts = {name: stack.counts(job, f"{name}.train") for name in ("write", "build", "verify", "review", "collect")}
    collected = counts["collect"]
    assert zoo.asked["writer"] == counts["write"]["written"] + counts["write"]["unparsed"]
    assert counts["write"]["written"] == counts["build"]["built"] + counts["build"]["rejected"]
    assert counts["build"]["built"] == counts["verify"]["accepted"] + counts["verify"]["rejected"]
    assert counts["verify"]["accepted"] == zoo.asked["judge"]
    assert counts["verify"]["accepted"] == counts["review"]["accepted"] + counts["review"]["rejected"]
    parts = ("examples", "selection", "duplicates", "near_duplicates", "leaked", "held_back", "surplus")
    assert counts["review"]["accepted"] == sum(collected[name] for name in parts)
    assert len(rejected) == sum(reasons.values()) == zoo.asked["writer"] - collected["examples"] - collected["surplus"]
    assert counts["verify"]["constant"] == 2 and counts["verify"]["disagree"] == 1
    assert counts["build"]["rows_added"] == 1


def test_examples_carry_what_was_measured(played: tuple[Stack, str, Zoo]) -> None:
    stack, job, _ = played
    examples = [
        Example.model_validate_json(line) for line in stack.output(job, "collect.train", "examples").splitlines()
    ]
    assert all(example.measured for example in examples)
    counts = stack.counts(job, "collect.train")
    assert sum(count for name, count in counts.items() if name.startswith("measured_")) == len(examples)
    good = next(example for example in examples if example.question == "Which keepers earn more than 2000?")
    assert (good.measured, good.flags) == ("easy", [])


def test_a_judge_needs_a_model() -> None:
    with pytest.raises(ValueError, match=r"strong\.judge needs an endpoint"):
        StrongModel(judge=True)
