"""Spider's and BIRD's own rules: how they read SQL, hand cases, and every question of real prediction files."""

import random
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.judge import Judge, JudgeQuestion
from services.sandbox.judging.policies import ConfiguredPolicy, without_distinct
from shared.contracts.records import Outcome, Policy, Verdict
from tests.support.benchmarks import needs_data, read_json, spider_database, spider_golds, spider_predictions

RIGHT = (Verdict.CORRECT, Verdict.BOTH_EMPTY)  # both call two empty results equal


@pytest.fixture(scope="module")
def two() -> Iterator[SandboxPool]:
    """Long budgets: what is asked here is how results compare, on a machine that may be busy."""
    with SandboxPool(2, Limits(deadline_s=30, gold_deadline_s=60)) as pool:
        yield pool


@pytest.mark.parametrize(
    ("sql", "left"),
    [
        ("SELECT DISTINCT a FROM t", "SELECT  a FROM t"),
        ("SELECT count(distinct a) FROM t", "SELECT count( a) FROM t"),
        ("SELECT a FROM t WHERE b = 'distinct'", "SELECT a FROM t WHERE b = 'distinct'"),
        ("SELECT a FROM t; DROP TABLE t", "SELECT a FROM t;"),
        ("SELECT ';' FROM t", "SELECT ';' FROM t"),
    ],
)
def test_distinct_is_cut_out(sql: str, left: str) -> None:
    assert without_distinct(sql) == left
    assert ConfiguredPolicy(Policy.SPIDER).gold_text(sql) == left
    assert ConfiguredPolicy(Policy.SPIDER, keep_distinct=True).gold_text(sql) == sql
    assert ConfiguredPolicy(Policy.STRICT).gold_text(sql) == ConfiguredPolicy(Policy.BIRD).gold_text(sql) == sql


def test_how_spider_reads_a_candidate() -> None:
    spider = ConfiguredPolicy(Policy.SPIDER)
    assert spider.candidate_text("SELECT avg(value) FROM t WHERE a > = 1") == "SELECT avg(1) FROM t WHERE a >= 1"
    assert spider.gold_text("SELECT value FROM t WHERE a ! = 1") == "SELECT value FROM t WHERE a != 1"
    assert spider.candidate_text("SELECT year ( CurDate() ) - a") == "SELECT 2020- a"
    assert spider.rule("SELECT a FROM (SELECT b ORDER BY b)").rows == "list"
    assert spider.rule("SELECT a ORDER  BY b").rows == "bag"


CASES = [
    # gold, candidate, spider, bird, strict
    ("SELECT city FROM customer", "SELECT DISTINCT city FROM customer", True, True, False),
    ("SELECT name, id FROM customer", "SELECT id, name FROM customer", True, False, True),
    ("SELECT id FROM customer ORDER BY id", "SELECT id FROM customer ORDER BY id DESC", False, True, False),
    ("SELECT id, id * 1.0 FROM customer", "SELECT id * 1.0, id FROM customer", True, True, True),
    ("SELECT 1, 1.5", "SELECT 1.0, 1.5", False, True, True),
    ("SELECT 0.1 + 0.2", "SELECT 0.3", False, False, True),
    ("SELECT id FROM customer UNION ALL SELECT id FROM customer", "SELECT id FROM customer", False, True, False),
    ("SELECT CAST(x'61ff' AS TEXT)", "SELECT 'a'", True, False, False),
    ("SELECT name FROM customer WHERE 0", "SELECT 1, 2 WHERE 0", True, True, True),
    ("SELECT name FROM customer", "DELETE FROM customer", False, False, False),
    ("SELECT name FROM customer", "SELECT name FROM customer; SELECT 1", True, False, False),
    ("SELECT name FROM customer", "", False, False, False),
]


@pytest.mark.parametrize(("gold", "candidate", "spider", "bird", "strict"), CASES)
def test_three_policies(
    two: SandboxPool, shop: Path, gold: str, candidate: str, spider: bool, bird: bool, strict: bool
) -> None:
    for policy, right in ((Policy.SPIDER, spider), (Policy.BIRD, bird), (Policy.STRICT, strict)):
        (judged,) = Judge(two, policy).judge(shop, gold, [candidate])
        assert (judged.verdict in RIGHT) is right, policy
        assert judged.policy is policy


def test_bird_cannot_read_what_is_not_utf8(two: SandboxPool, tmp_path: Path) -> None:
    path = tmp_path / "latin.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t(a TEXT); INSERT INTO t VALUES (CAST(x'c9a9e9' AS TEXT))")
    connection.close()
    sql = "SELECT a FROM t"
    found = {policy: Judge(two, policy).judge(path, sql, [sql])[0] for policy in Policy}
    assert found[Policy.BIRD].gold.outcome is Outcome.DECODE_ERROR
    assert found[Policy.BIRD].verdict is Verdict.GOLD_FAILED
    assert found[Policy.SPIDER].gold.rows == [["\u0269"]]
    assert found[Policy.STRICT].gold.rows == [["\u0269\ufffd"]]
    assert found[Policy.STRICT].verdict is found[Policy.SPIDER].verdict is Verdict.CORRECT


@cache
def official() -> Any:
    return read_json("predictions/spider_dev/official_verdicts.json")


@needs_data
@pytest.mark.parametrize("name", ["c3_chatgpt", "dail_sql_gpt4", "din_sql_gpt4", "graphix_t5_3b"])
def test_every_question_of_spider_dev_as_the_official_evaluator_has_it(two: SandboxPool, name: str) -> None:
    """There is no difference left to explain: all 1,034 verdicts of each file are equal."""
    questions = [
        JudgeQuestion(spider_database(database), gold, (sql,))
        for (gold, database), sql in zip(spider_golds(), spider_predictions(name), strict=True)
    ]
    judged = Judge(two, Policy.SPIDER, keep_rows=0).judge_many(questions)
    found = [int(judgements[0].verdict in RIGHT) for judgements in judged]
    wanted = [int(value) for value in official()[name]["ex"]]
    assert [place for place in range(1034) if found[place] != wanted[place]] == []


@needs_data
def test_superhero_as_bird_has_it(two: SandboxPool) -> None:
    for questions, predictions, right in (
        (
            "bird/dev.json",
            "predictions/bird_dev/chatgpt_knowledge.json",
            {"simple": 62, "moderate": 18, "challenging": 4},
        ),
        (
            "bird/mini_dev/mini_dev_sqlite.json",
            "predictions/bird_minidev/predict_mini_dev_gpt-4-turbo_cot_SQLite.json",
            {"simple": 13, "moderate": 24, "challenging": 9},
        ),
    ):
        answers = read_json(predictions)
        rows = [
            (row, str(answers[str(n)])) for n, row in enumerate(read_json(questions)) if row["db_id"] == "superhero"
        ]
        path = Path(str(spider_database("superhero", "bird/dev_databases")))
        asked = [JudgeQuestion(path, row["SQL"], (answer.split("\t----- bird -----")[0],)) for row, answer in rows]
        judged = Judge(two, Policy.BIRD).judge_many(asked)
        found = dict.fromkeys(right, 0)
        for (row, _), (judgement,) in zip(rows, judged, strict=True):
            found[row["difficulty"]] += judgement.verdict in RIGHT
        assert found == right


@needs_data
def test_verdicts_depend_on_neither_order_nor_children() -> None:
    """The 1,034 answers of one real system, shuffled, by one child and by three."""
    rows = list(enumerate(zip(spider_golds(), spider_predictions("c3_chatgpt"), strict=True)))
    found = []
    for children, seed in ((1, 1), (3, 2)):
        order = random.Random(seed).sample(rows, len(rows))
        questions = [JudgeQuestion(spider_database(database), gold, (sql,)) for _, ((gold, database), sql) in order]
        with SandboxPool(children, Limits(deadline_s=60, gold_deadline_s=60)) as pool:
            judged = Judge(pool, keep_rows=0).judge_many(questions)
        found.append({place: one.verdict for (place, _), (one,) in zip(order, judged, strict=True)})
    assert found[0] == found[1]
    assert len(set(found[0].values())) > 2
