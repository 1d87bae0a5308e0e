"""Stored datasets as sources of training data, on real workers: loaded, collected, sampled, paired."""

import json
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
from shared.contracts.datasets import DatasetManifest
from shared.contracts.records import DpoRecord, SftRecord
from shared.storage.store import ObjectStore
from tests.flow.conftest import StartStack
from tests.support.datasets import make_databases, write_lines
from tests.support.openai_server import OpenAiServer, Request
from tests.support.writers import asked_question

StartServer = Callable[..., OpenAiServer]
ROWS: list[dict[str, Any]] = [
    {"question": f"Who has id {n}?", "db": "singers", "sql": f"SELECT name FROM singer WHERE id = {n}"}
    for n in range(1, 4)
] + [
    {"question": f"Which pet has id {n}?", "db": "pets", "sql": f"SELECT kind FROM pet WHERE id = {n}"}
    for n in range(1, 4)
]


def bring(objects: ObjectStore, folder: Path, rows: list[dict[str, Any]], name: str) -> DatasetManifest:
    """What `sense import` and the gateway do, without the way between them."""
    make_databases(folder / "databases")
    source = read_source(ImportRequest("custom", write_lines(folder / "q.jsonl", rows)))
    with SandboxPool(1) as pool, open_upload(objects) as intake:
        head = head_of(source, name, check_golds(source, pool, lambda _count: None), None)
        examples = examples_of(source, [None] * len(rows))
        for one in {one.domain: one for one in examples}.values():
            store_database(objects, source.databases.files[one.domain], one.database_id, pool)
        intake.add("\n".join([head.model_dump_json(), *(row.model_dump_json() for row in examples)]).encode())
        return intake.close()[0]


def test_synthesis_and_a_data_set_are_one_mixture(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack()
    bad = {"question": "Broken?", "db": "pets", "sql": "SELECT height FROM pet"}
    made = bring(stack.objects, tmp_path, [{**row, "split": "train"} for row in [*ROWS, bad]], "mine")
    sources = [{"synthesis": 8, "per_shard": 8}, {"dataset": "mine"}]
    job = stack.succeed({"kind": "synthesis", "train": {"sft": sources}})
    counts = stack.counts(job, "load.train1")
    assert (counts["examples"], counts["gold_failed"]) == (6, 1)
    lines = stack.output(job, "collect.train", "sft").decode().splitlines()
    writers = [SftRecord.model_validate_json(line).writer for line in lines]
    assert writers.count("imported") == 6 and writers.count("grammar") >= 8
    card = stack.output(job, "collect.train", "card").decode()
    assert made.ref in card and "golds that did not run at the import are left" in card
    plan = stack.jobs.plan(job)
    assert plan is not None and plan.stage("load.train1").params["dataset"] == made.ref, "pinned when compiled"


def test_a_weak_model_is_sampled_on_a_data_set(
    start_stack: StartStack, tmp_path: Path, openai_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = start_stack()
    bring(stack.objects, tmp_path, [{**row, "split": "train"} for row in ROWS], "mine")
    golds = {row["question"]: row["sql"] for row in ROWS}

    def weak(request: Request) -> list[str]:
        gold = golds[asked_question(request)]
        return ([gold, gold.replace("id =", "id >"), "SELECT 1", gold] * 2)[: int(request.get("n") or 1)]

    server = openai_server(weak, models=("w",))
    monkeypatch.setenv("SENSE_ENDPOINT_WEAK_BASE_URL", server.base_url)
    spec = {
        "kind": "pairing",
        "train": {"sft": [{"dataset": "mine"}]},
        "weak": {"endpoint": "weak", "model": "w", "samples": 4},
        "pairs": {"suite_databases": 0},
    }
    job = stack.succeed(spec)
    lines = stack.output(job, "collect.preferences", "dpo").decode().splitlines()
    rows = [DpoRecord.model_validate_json(line) for line in lines]
    assert len(rows) == 6
    assert {json.loads(line)["domain"] for line in lines} == {"singers", "pets"}


def test_a_data_set_that_is_not_there_ends_the_job_with_its_name(start_stack: StartStack) -> None:
    stack = start_stack()
    record = stack.run(stack.submit({"kind": "synthesis", "train": {"sft": [{"dataset": "absent"}]}}))
    assert record.status == "failed" and record.error is not None
    assert (record.error.code, "'absent'" in record.error.message) == ("dataset_not_found", True)
