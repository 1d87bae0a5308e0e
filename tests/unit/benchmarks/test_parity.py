"""Agreement with the unmodified official evaluator, question by question."""

import sqlite3
from functools import cache
from typing import Any

import pytest

from services.benchmarks.exact_match import ExactMatcher
from services.benchmarks.prediction_files import read_spider_pairs
from services.evaluation.metrics.exact_match import exact_match
from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema, schemas_by_name
from shared.sql.spider.tree import UnreadableSqlError
from tests.support.benchmarks import DATA, needs_data, read_json, spider_database, spider_golds

pytestmark = needs_data
SYSTEMS = ("dail_sql_gpt4", "din_sql_gpt4", "c3_chatgpt", "graphix_t5_3b")
# The only gold of train that the official grammar cannot read.
UNREADABLE_TRAIN_GOLDS = 1


@cache
def verdicts() -> Any:
    return read_json("predictions/spider_dev/official_verdicts.json")


@cache
def entries() -> dict[str, Any]:
    return {entry["db_id"]: entry for entry in read_json("spider/tables.json")}


@cache
def database_schema(name: str) -> SpiderSchema:
    with sqlite3.connect(f"file:{spider_database(name)}?mode=ro", uri=True) as database:
        tables = [str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        listing = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in tables}
    return SpiderSchema.from_listing(listing, entries()[name])


@pytest.mark.parametrize("system", SYSTEMS)
def test_exact_match_and_hardness_of_every_question(system: str) -> None:
    pairs = read_spider_pairs(
        DATA / "spider/dev_gold.sql", DATA / f"predictions/spider_dev/{system}.sql", entries()
    ).pairs
    schemas = {pair.db_id: database_schema(pair.db_id) for pair in pairs}
    matcher = ExactMatcher(schemas, ["official"])
    found = [matcher.score(pair) for pair in pairs]
    assert [one.em["official"] for one in found] == [int(digit) for digit in verdicts()[system]["em"]]
    assert [one.hardness for one in found] == verdicts()["hardness"]


@pytest.mark.parametrize("mode", ["official", "strict"])
def test_gold_against_itself(mode: Any) -> None:
    schemas = schemas_by_name(entries().values())
    assert all(exact_match(gold, gold, schemas[name], mode).em for gold, name in spider_golds())


def test_train_golds_are_read_as_officially() -> None:
    schemas = schemas_by_name(entries().values())
    rows = read_json("spider/train_spider.min.json")
    unreadable = []
    for row in rows:
        try:
            parse_spider_sql(row["query"], schemas[row["db_id"]])
        except UnreadableSqlError:
            unreadable.append(row["query"])
    assert len(rows) == 7000
    assert len(unreadable) == UNREADABLE_TRAIN_GOLDS
