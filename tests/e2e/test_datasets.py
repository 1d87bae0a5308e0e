"""Own questions and a benchmark on the whole embedded stack: imported, evaluated on an endpoint's model, reported."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.api.resources import Job
from shared.client.client import RejectedError
from tests.support.benchmarks import DATA, needs_data, read_json, spider_predictions
from tests.support.datasets import make_databases, make_spider, write_lines
from tests.support.openai_server import OpenAiServer
from tests.support.stack import Stack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
SYSTEM = "dail_sql_gpt4"
MODEL = {"endpoint": "judged", "model": "m"}
# question, database, gold, greedy answer
MINE = [
    ("How many pets are there?", "pets", "SELECT count(*) FROM pet", "SELECT count(id) FROM pet"),
    ("Which kinds of pet?", "pets", "SELECT DISTINCT kind FROM pet", "SELECT id FROM pet"),
    ("Which weigh over 99?", "pets", "SELECT id FROM pet WHERE weight > 99", "SELECT id FROM pet WHERE weight > 98"),
    ("How tall are they?", "pets", "SELECT height FROM pet", "SELECT weight FROM pet"),
    ("Who is oldest?", "singers", "SELECT name FROM singer ORDER BY age DESC LIMIT 1", "SELECT name FROM"),
    ("How many sing?", "singers", "SELECT count(*) FROM singer", "```sql\nSELECT count(*) FROM singer\n```"),
]
SPIDER_ANSWERS = {
    "How many singers are there?": "SELECT count(*) FROM singer",
    "Name the singers by age.": "SELECT name FROM singer WHERE age > 30",
    "Which kinds are there?": "SELECT DISTINCT kind FROM pet",  # officially right: DISTINCT is cut out
}
SAMPLED = {
    MINE[0][0]: ["SELECT 3", "SELECT 1", "SELECT 2", "SELECT count(*) FROM pet"],
    MINE[1][0]: ["SELECT id FROM pet", "SELECT id FROM pet", *["SELECT DISTINCT kind FROM pet"] * 2],
}


@cache
def replayed() -> dict[str, str]:
    """What a real system predicted for Spider dev, by question: no text stands for two predictions there."""
    questions = [one["question"].strip() for one in read_json("spider/dev.json")]
    return dict(zip(questions, spider_predictions(SYSTEM), strict=True))


def answer(request: dict[str, Any]) -> str | list[str]:
    """By the question at the prompt's end."""
    asked = str(request["messages"][-1]["content"]).rpartition("Question: ")[2]
    if request["model"] == SYSTEM:
        return replayed()[asked]
    plain = {question: sql for question, _, _, sql in MINE} | SPIDER_ANSWERS
    wanted = int(request.get("n") or 1)
    return SAMPLED[asked][:wanted] if wanted > 1 and asked in SAMPLED else [plain[asked]] * wanted


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("datasets") / "state"
    with (
        OpenAiServer(answer, models=["m", SYSTEM]) as server,
        running_stack(state, SENSE_ENDPOINT_JUDGED_BASE_URL=server.base_url) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def mine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The imported set of own questions."""
    root = tmp_path_factory.mktemp("mine")
    make_databases(root / "databases")
    rows = [{"question": question, "db": db, "sql": gold} for question, db, gold, _ in MINE]
    path = write_lines(root / "q.jsonl", rows)
    ended = stack.sense("import", "custom", path, "--name", "mine", "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.fixture(scope="module")
def report(stack: Stack, mine: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one evaluation job on three sets."""
    root = make_spider(tmp_path_factory.mktemp("spider"))
    ended = stack.sense("import", "spider", root, "--name", "tiny-spider")
    assert ended.returncode == 0, ended.stderr
    sets = [{"dataset": "mine"}, {"dataset": f"mine@{mine['version']}", "samples": 4}, {"dataset": "tiny-spider"}]
    job: Job = stack.succeed({"kind": "evaluation", "models": [MODEL], "evaluate": sets}, limit_s=120)
    assert all(stage.status == "done" for stage in job.stages)
    texts = {
        one.name: stack.client.download(job.id, one.name, root / one.filename).read_text()
        for one in job.artifacts
        if one.stage == "report"
    }
    found: dict[str, Any] = json.loads(texts["report.json"])
    return {"data": found, "texts": texts}


def test_the_import_tells_of_the_golds(stack: Stack, mine: dict[str, Any]) -> None:
    assert (mine["questions"], mine["databases"], mine["policy"]) == (6, 2, "strict")
    assert [fault["index"] for fault in mine["health"]["failed"]] == [3]
    assert (mine["health"]["empty"], mine["ceiling"]) == ([2], round(5 / 6, 6))
    shown = stack.sense("datasets", "show", "mine", "--examples", "1")
    assert "5 of 6 can be answered" in shown.stdout and "How many pets are there?" in shown.stdout
    assert "mine" in stack.sense("datasets").stdout
    assert len(list(stack.client.databases())) == 2


def test_scores_on_own_questions(report: dict[str, Any], mine: dict[str, Any]) -> None:
    greedy = next(one for one in report["data"]["benchmarks"] if one["set_name"] == "mine/dev")
    assert (greedy["dataset"], greedy["policy"]) == (f"mine@{mine['version']}", "strict")
    assert (greedy["questions"], greedy["gold_empty"], greedy["ceiling"]) == (6, 1, round(5 / 6, 6))
    assert len(greedy["gold_failed"]) == 1 and "question 3 (pets): unknown_column" in greedy["gold_failed"][0]
    assert greedy["metric_version"] and greedy["prompt"].startswith("create-select")
    (arm,) = greedy["arms"]
    assert arm["official"] == arm["strict"] == {"correct": 3, "total": 6}
    assert arm["gold_not_empty"] == {"correct": 2, "total": 5}
    assert arm["failures"] == {"gold_failed": 1, "syntax": 1, "wrong_rows": 1}
    assert arm["hardness"]["easy"] == {"correct": 3, "total": 4}
    assert arm["hardness"]["medium"] == {"correct": 0, "total": 1}
    score = next(one for one in report["data"]["scores"] if one["set_name"] == "mine/dev")
    assert (score["accuracy"], score["questions"], score["interval"]["low"] <= 0.5) == (0.5, 6, True)


def test_samples_and_their_vote(report: dict[str, Any]) -> None:
    sampled = next(one for one in report["data"]["benchmarks"] if one["set_name"].startswith("mine/dev, 4"))
    (arm,) = sampled["arms"]
    assert arm["official"] == {"correct": 12, "total": 24}
    assert arm["majority"] == {"correct": 3, "total": 6}
    score = next(one for one in report["data"]["scores"] if one["set_name"] == sampled["set_name"])
    assert (score["k"], round(score["pass_at_k"], 4)) == (4, round(4 / 6, 4))


def test_the_official_policy_with_strict_beside_it(report: dict[str, Any]) -> None:
    tiny = next(one for one in report["data"]["benchmarks"] if one["set_name"] == "tiny-spider/dev")
    (arm,) = tiny["arms"]
    assert (tiny["policy"], tiny["ceiling"]) == ("spider", 1.0)
    assert (arm["official"], arm["strict"]) == ({"correct": 2, "total": 3}, {"correct": 1, "total": 3})
    assert arm["failures"] == {"wrong_order": 1}
    text = "\n".join(report["texts"].values())
    for words in ("spider policy", "EX, strict", "Ceiling", "Majority vote", "sense-benchmark/"):
        assert words in text
    rows = [json.loads(line) for line in report["texts"]["report/questions"].splitlines()]
    assert len(rows) == 15
    (kinds,) = [row for row in rows if row["question"] == "Which kinds are there?"]
    ((said,),) = kinds["arms"].values()
    assert (said["ex"], said["verdict"], said["strict"]) == (1, "correct", "wrong")


def test_what_is_not_there_is_refused_at_once(stack: Stack, mine: dict[str, Any]) -> None:
    spec = {
        "kind": "evaluation",
        "models": [{"endpoint": "nobody", "model": "m"}],
        "evaluate": [{"dataset": "absent"}, {"dataset": "mine", "split": "test"}, {"dataset": f"mine@{'0' * 16}"}],
    }
    with pytest.raises(RejectedError) as refused:
        stack.client.submit(spec)
    faults = {fault.path: fault.message for fault in refused.value.faults}
    assert set(faults) == {"models.0.endpoint", "evaluate.0.dataset", "evaluate.1.split", "evaluate.2.dataset"}
    assert mine["version"] in faults["evaluate.2.dataset"]


def test_a_data_set_is_imported_again_as_the_same_version(stack: Stack, mine: dict[str, Any], tmp_path: Path) -> None:
    make_databases(tmp_path / "databases")
    path = write_lines(tmp_path / "q.jsonl", [{"question": q, "db": db, "sql": gold} for q, db, gold, _ in MINE])
    ended = stack.sense("import", "custom", path, "--name", "mine", "--json")
    assert json.loads(ended.stdout) == mine


@needs_data
def test_a_job_on_spider_dev_agrees_with_the_official_evaluator(stack: Stack, tmp_path: Path) -> None:
    """Question by question, for a real system's predictions that an endpoint gives as its answers."""
    ended = stack.sense("import", "spider", DATA / "spider", "--name", "spider-dev")
    assert ended.returncode == 0, ended.stderr
    models = [{"endpoint": "judged", "model": SYSTEM}]
    job = stack.succeed({"kind": "evaluation", "models": models, "evaluate": [{"dataset": "spider-dev"}]}, limit_s=240)
    lines = stack.client.download(job.id, "report/questions", tmp_path / "q.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    official = [one == "1" for one in read_json("predictions/spider_dev/official_verdicts.json")[SYSTEM]["ex"]]
    found = [any(said["ex"] for (said,) in row["arms"].values()) for row in rows]
    assert [row["index"] for row in rows] == list(range(1034))
    assert [row["index"] for row, ours, theirs in zip(rows, found, official, strict=True) if ours != theirs] == []
