"""Small benchmarks in the official layouts, written by tests; and datasets as the gateway takes them."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.catalog.datasets import example_id
from shared.contracts.datasets import DatasetHeader, GoldHealth
from shared.contracts.records import Example, Policy, Provenance

SINGERS = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
INSERT INTO singer VALUES (1, 'Ann', 41), (2, 'Bo', 29), (3, 'Cy', 35);
"""
PETS = """
CREATE TABLE pet (id INTEGER PRIMARY KEY, kind TEXT, weight REAL);
INSERT INTO pet VALUES (1, 'cat', 4.5), (2, 'dog', 12.0), (3, 'cat', 5.0);
"""
SPIDER_TABLES = [
    {
        "db_id": "singers",
        "table_names_original": ["singer"],
        "column_names_original": [[-1, "*"], [0, "id"], [0, "name"], [0, "age"]],
        "foreign_keys": [],
    }
]
SPIDER = [
    {"db_id": "singers", "question": "How many singers are there?", "query": "SELECT count(*) FROM singer"},
    {
        "db_id": "singers",
        "question": "Name the singers by age.",
        "query": "SELECT name FROM singer WHERE age > 30 ORDER BY age",
    },
    {"db_id": "pets", "question": "Which kinds are there?", "query": "SELECT kind FROM pet"},
]


def make_file(path: Path, script: str) -> Path:
    """A SQLite file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


def write_json(path: Path, value: Any) -> Path:
    """A JSON file, one entry of a list a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "[\n" + ",\n".join(map(json.dumps, value)) + "\n]\n" if isinstance(value, list) else json.dumps(value)
    path.write_text(text)
    return path


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    """A JSONL file; texts go in as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def make_databases(folder: Path) -> Path:
    """`singers` and `pets`, each in its folder."""
    make_file(folder / "singers/singers.sqlite", SINGERS)
    make_file(folder / "pets/pets.sqlite", PETS)
    return folder


def make_spider(root: Path, questions: Sequence[Any] = SPIDER) -> Path:
    """Spider's layout."""
    make_databases(root / "database")
    write_json(root / "tables.json", SPIDER_TABLES)
    write_json(root / "dev.json", list(questions))
    return root


def make_example(number: int, database_id: str, split: str = "dev", **changes: Any) -> Example:
    """A question about singers."""
    fields: dict[str, Any] = {
        "database_id": database_id,
        "domain": "singers",
        "split": split,
        "level": "easy",
        "hardness": "easy" if number % 2 else "extra",
        "index": number,
        "question": f"Who is number {number}?",
        "gold": f"SELECT name FROM singer WHERE id = {number}",
        "provenance": Provenance(
            writer="imported", writer_version="custom/1", seed=0, source=f"q.jsonl, line {number + 1}"
        ),
        **changes,
    }
    name = example_id(fields["database_id"], fields["question"], fields.get("evidence"), fields["gold"])
    return Example.model_validate({"example_id": name, **fields})


def make_head(name: str = "singers", **changes: Any) -> DatasetHeader:
    """The head of a dataset of own questions."""
    health = GoldHealth(policy=Policy.STRICT, deadline_s=10, golds=3)
    fields = {"name": name, "format": "custom", "policy": "strict", "sources": {"q.jsonl": "0" * 64}, "health": health}
    return DatasetHeader.model_validate({**fields, **changes})
