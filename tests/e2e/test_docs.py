"""The jobs of docs/jobs.md, docs/data.md and docs/evaluation.md run as they are printed, on the embedded stack."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.datasets import make_databases, write_lines
from tests.support.openai_server import OpenAiServer
from tests.support.stack import Stack, running_stack
from tests.unit.docs.examples import read_example_spec

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
JOB_S = 180
# question, gold, split
QUESTIONS = [
    ("How many pets are there?", "SELECT count(*) FROM pet", "dev"),
    ("Which kinds of pet are there?", "SELECT DISTINCT kind FROM pet", "dev"),
    ("What are the ids of all pets?", "SELECT id FROM pet", "train"),
    ("What is the largest weight of a pet?", "SELECT max(weight) FROM pet", "train"),
]
GOLDS = {question: gold for question, gold, _ in QUESTIONS}


def answer_with_gold(request: dict[str, Any]) -> list[str]:
    """The gold of the question at the prompt's end, once for each sample."""
    question = str(request["messages"][-1]["content"]).rpartition("Question: ")[2]
    return [GOLDS[question]] * int(request.get("n") or 1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the endpoint `local` and the dataset `mine`, as the pages assume them."""
    state = tmp_path_factory.mktemp("docs") / "state"
    root = tmp_path_factory.mktemp("mine")
    make_databases(root / "databases")
    rows = [{"question": question, "sql": gold, "db": "pets", "split": split} for question, gold, split in QUESTIONS]
    questions = write_lines(root / "questions.jsonl", rows)
    with (
        OpenAiServer(answer_with_gold, models=["MODEL"]) as server,
        running_stack(state, SENSE_ENDPOINT_LOCAL_BASE_URL=server.base_url) as running,
    ):
        ended = running.sense("import", "custom", questions, "--db", root / "databases", "--name", "mine")
        assert ended.returncode == 0, ended.stderr
        yield running


def run_job(stack: Stack, name: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Submits a page's spec with `sense submit --watch`; the job's id, and its artifacts by name."""
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(read_example_spec(name)), encoding="utf-8")
    ended = stack.sense("submit", path, "--watch", "--json", limit_s=JOB_S)
    assert ended.returncode == 0, ended.stderr
    job = json.loads(ended.stdout)
    saved = stack.sense("artifacts", job["id"], "--download", folder / "results")
    assert saved.returncode == 0, saved.stderr
    return job["id"], {one["name"]: one["stage"] for one in job["artifacts"]}


def download_records(stack: Stack, job_id: str, name: str, folder: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines artifact."""
    text = stack.client.download(job_id, name, folder / "records.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_first_job_of_the_jobs_page(stack: Stack, tmp_path: Path) -> None:
    job_id, artifacts = run_job(stack, "jobs", tmp_path)
    assert "collect.train/sft" in artifacts
    records = download_records(stack, job_id, "collect.train/sft", tmp_path)
    assert len(records) == 24
    assert all({"prompt", "completion"} <= set(record) for record in records)
    assert any(path.is_file() for path in (tmp_path / "results").rglob("*"))


def test_the_mixed_sources_of_the_data_page(stack: Stack, tmp_path: Path) -> None:
    job_id, _ = run_job(stack, "data", tmp_path)
    records = download_records(stack, job_id, "collect.train/sft", tmp_path)
    completions = json.dumps(records)
    assert len(records) == 14
    assert all(gold in completions for _, gold, split in QUESTIONS if split == "train")


def test_the_evaluation_page(stack: Stack, tmp_path: Path) -> None:
    job_id, artifacts = run_job(stack, "evaluation", tmp_path)
    assert "report" in artifacts.values()
    report = stack.client.download(job_id, "report.json", tmp_path / "report.json").read_text(encoding="utf-8")
    scores = json.loads(report)["scores"]
    assert {score["set_name"].split(",")[0] for score in scores} == {"mine/dev"}
    assert all(score["accuracy"] == 1.0 for score in scores)
