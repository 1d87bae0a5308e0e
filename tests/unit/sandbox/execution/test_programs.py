"""Programs: equal for two writings of one query, different for what may give another result on another day."""

from pathlib import Path

import pytest

from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import ExecutionRequest
from services.sandbox.judging.judge import Judge, JudgeQuestion
from services.sandbox.tasks import find_programs
from shared.contracts.records import Outcome


def program(pool: SandboxPool, shop: Path, sql: str) -> str | None:
    return pool.run(ExecutionRequest(shop, sql, program=True)).program


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT name FROM customer", "select  NAME\nfrom customer -- all"),
        ("SELECT name FROM customer WHERE city = 'Oslo'", "SELECT c.name FROM customer AS c WHERE c.city = 'Oslo'"),
        ("SELECT name FROM customer WHERE city = 'Oslo'", 'SELECT name FROM customer WHERE city = "Oslo"'),
        ("SELECT count(*) FROM orders", "SELECT COUNT(*) AS n FROM orders"),
    ],
)
def test_two_writings_of_a_query_have_one_program(pool: SandboxPool, shop: Path, one: str, other: str) -> None:
    assert program(pool, shop, one) == program(pool, shop, other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT MAX(total) FROM orders", "SELECT MIN(total) FROM orders"),
        ("SELECT name FROM customer ORDER BY city", "SELECT name FROM customer ORDER BY city DESC"),
        ("SELECT name FROM customer WHERE city = 'Oslo'", "SELECT name FROM customer WHERE city = 'oslo'"),
        ("SELECT name FROM customer WHERE id > 1", "SELECT name FROM customer WHERE id > 2"),
        ("SELECT name FROM customer WHERE id > 1", "SELECT name FROM customer WHERE id >= 1"),
        ("SELECT name FROM customer LIMIT 1", "SELECT name FROM customer LIMIT 2"),
        ("SELECT total * 1.5 FROM orders", "SELECT total * 1.25 FROM orders"),
        ("SELECT sum(total) FROM orders", "SELECT total(total) FROM orders"),
    ],
)
def test_two_queries_have_two_programs(pool: SandboxPool, shop: Path, one: str, other: str) -> None:
    first, second = program(pool, shop, one), program(pool, shop, other)
    assert None not in (first, second) and first != second


def test_a_plan_would_not_have_told_max_from_min(pool: SandboxPool, shop: Path) -> None:
    plans = [f"EXPLAIN QUERY PLAN SELECT {name}(total) FROM orders" for name in ("MAX", "MIN")]
    shown = [[row[3] for row in pool.execute(shop, sql).rows] for sql in plans]
    assert shown[0] == shown[1]


def test_bytes_that_explain_hides_give_no_program(pool: SandboxPool, shop: Path) -> None:
    assert program(pool, shop, "SELECT id FROM orders WHERE note = x'01'") is None


def test_a_program_is_the_same_in_another_child(shop: Path) -> None:
    found = set()
    for _ in range(2):
        with SandboxPool(1) as pool:
            found.add(program(pool, shop, "SELECT value FROM json_each('[1]')"))
    assert len(found) == 1 and None not in found


@pytest.mark.parametrize(
    ("sql", "outcome"),
    [
        ("SELECT nope FROM customer", Outcome.UNKNOWN_COLUMN),
        ("DELETE FROM customer", Outcome.NOT_AUTHORIZED),
        ("PRAGMA journal_mode", Outcome.NOT_AUTHORIZED),
        ("SELECT load_extension('x')", Outcome.NOT_AUTHORIZED),
        ("", Outcome.SYNTAX_ERROR),
    ],
)
def test_what_does_not_compile_has_no_program(pool: SandboxPool, shop: Path, sql: str, outcome: Outcome) -> None:
    ran = pool.run(ExecutionRequest(shop, sql, program=True))
    assert (ran.outcome, ran.program) == (outcome, None)


def test_nothing_is_run(pool: SandboxPool, shop: Path) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
    ran = pool.run(ExecutionRequest(shop, endless, program=True))
    assert ran.outcome is Outcome.OK and ran.program is not None and ran.rows == []


def test_programs_of_judged_candidates(pool: SandboxPool, shop: Path) -> None:
    gold = "SELECT name FROM customer"
    sqls = (gold, "SELECT name FROM customer WHERE 1", "SELECT nope FROM customer", None)
    questions = [JudgeQuestion(shop, gold, sqls)]
    found = find_programs(pool, questions, Judge(pool).judge_many(questions))
    assert set(found) == {(shop, gold), (shop, "SELECT name FROM customer WHERE 1")}
    assert None not in found.values()
