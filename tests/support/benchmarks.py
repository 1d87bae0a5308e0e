"""Real benchmark data for tests: at `../shared/data`, or where SENSE_TEST_DATA says; never part of the project."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SENSE_TEST_DATA") or ROOT.parent / "shared" / "data")
needs_data = pytest.mark.skipif(
    not (DATA / "spider" / "dev_gold.sql").exists(),
    reason="no benchmark data beside this clone: set SENSE_TEST_DATA to a folder that has spider/, bird/, predictions/",
)


def read_json(name: str) -> Any:
    """A JSON file of the data."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def spider_golds() -> list[tuple[str, str]]:
    """(gold, database) of the 1,034 questions of Spider dev."""
    lines = (DATA / "spider/dev_gold.sql").read_text(encoding="utf-8").splitlines()
    return [(sql, database) for sql, _, database in (line.partition("\t") for line in lines)]


def spider_predictions(name: str) -> list[str]:
    """One SQL a question of Spider dev."""
    lines = (DATA / f"predictions/spider_dev/{name}.sql").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines]


def spider_database(name: str, folder: str = "spider/database") -> Path:
    """The SQLite file of a database."""
    return DATA / folder / name / f"{name}.sqlite"
