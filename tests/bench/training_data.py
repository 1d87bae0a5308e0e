"""Rows for the training benchmarks: the demo's own (the grammar writer's, through the real flow) and Spider's."""

import json
import os
import random
import tempfile
from pathlib import Path

from services.sandbox.building.databases import make_card
from shared.catalog.databases import SchemaCard
from shared.contracts.records import DpoRecord, Message, SftRecord
from shared.sql.prompt import render_messages
from tests.flow.harness import Stack
from tests.support.benchmarks import read_json, spider_database
from tests.support.valkey import start_valkey


def demo_rows(count: int) -> list[SftRecord]:
    """What the demo's synthesis collects: prompts without example rows."""
    with tempfile.TemporaryDirectory() as name, start_valkey(Path(name) / "valkey") as url:
        environment = {
            "SENSE_REDIS_URL": url,
            "SENSE_REDIS_PREFIX": "bench:",
            "SENSE_STORE_ROOT": f"{name}/objects",
            "SENSE_STATE": f"{name}/state",
        }
        os.environ.update(environment)
        stack = Stack(environment)
        source = {"synthesis": count, "levels": {"easy": 0.5, "medium": 0.35, "hard": 0.15}, "per_shard": 40}
        job = stack.succeed({"kind": "synthesis", "train": {"sft": [source]}, "prompt": {"sample_rows": 0}})
        return [SftRecord.model_validate_json(line) for line in stack.output(job, "collect.train", "sft").splitlines()]


def spider_rows(count: int, seed: int = 1) -> list[SftRecord]:
    """Questions of Spider train drawn by seed, with three example rows a table: the real mix of lengths."""
    questions = [one for one in read_json("spider/train_spider.min.json") if spider_database(one["db_id"]).exists()]
    cards: dict[str, SchemaCard] = {}
    rows = []
    for number, one in enumerate(random.Random(seed).sample(questions, count)):
        name = one["db_id"]
        if name not in cards:
            cards[name] = make_card(spider_database(name), name)
        rows.append(
            SftRecord(
                prompt=render_messages(cards[name], one["question"]),
                completion=[Message(role="assistant", content=" ".join(one["query"].split()))],
                example_id=str(number),
                database_id=name,
                domain=name,
                level="easy",
                writer="spider",
            )
        )
    return rows


def as_pairs(rows: list[SftRecord]) -> list[DpoRecord]:
    """Pairs for timing: the chosen is a row's answer, the rejected its neighbour's."""
    pairs = []
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        fields = {name: getattr(row, name) for name in ("prompt", "example_id", "database_id", "domain")}
        pair = {**fields, "chosen": row.completion, "rejected": other.completion, "source_model": "bench"}
        pairs.append(DpoRecord.model_validate({**pair, "outcome_rejected": "ok", "verdict_rejected": "wrong"}))
    return pairs


def write(path: Path, rows: "list[SftRecord] | list[DpoRecord]") -> Path:
    """JSONL as an export has it."""
    path.write_text("".join(json.dumps(row.model_dump(mode="json")) + "\n" for row in rows))
    return path
