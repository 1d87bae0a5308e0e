"""Verdicts under the strict policy, and how golds are remembered."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.judge import GoldCache, Judge, JudgeQuestion
from services.sandbox.judging.policies import ConfiguredPolicy
from services.sandbox.judging.verdicts import compare_results
from shared.contracts.records import Outcome, Policy, Verdict

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
MANY = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 5000) SELECT x FROM c"
NAMES = "SELECT name, city FROM customer"
BY_NAME = "SELECT name FROM customer ORDER BY name"
CONSTANTS = "SELECT 1, 2, 3 UNION ALL SELECT 2, 3, 1 UNION ALL SELECT 3, 1, 2"


@pytest.mark.parametrize(
    ("gold", "sql", "verdict"),
    [
        (NAMES, "SELECT name, city FROM customer;", Verdict.CORRECT),
        (NAMES, "SELECT name, city FROM customer ORDER BY id DESC", Verdict.CORRECT),
        (NAMES, "SELECT city, name FROM customer", Verdict.CORRECT),
        (NAMES, "SELECT name, name FROM customer", Verdict.WRONG),
        (NAMES, "SELECT name FROM customer", Verdict.WRONG),
        (NAMES, "SELECT name, coalesce(city, '') FROM customer", Verdict.WRONG),
        (NAMES, "SELECT name, city FROM customer WHERE 0", Verdict.WRONG),
        ("SELECT city FROM customer", "SELECT DISTINCT city FROM customer", Verdict.WRONG),
        (BY_NAME, "SELECT name FROM customer ORDER BY id", Verdict.CORRECT),
        (BY_NAME, "SELECT name FROM customer ORDER BY name DESC", Verdict.WRONG),
        ("SELECT id, name FROM customer ORDER BY id", "SELECT name, id FROM customer ORDER BY 2", Verdict.CORRECT),
        ("SELECT id, name FROM customer ORDER BY id", "SELECT name, id FROM customer ORDER BY 2 DESC", Verdict.WRONG),
        ("SELECT * FROM (SELECT name FROM customer ORDER BY name)", BY_NAME + " DESC", Verdict.CORRECT),
        ("SELECT sum(total) FROM orders", "SELECT 35.85", Verdict.CORRECT),
        ("SELECT sum(total) FROM orders", "SELECT 35.851", Verdict.WRONG),
        ("SELECT count(*) FROM customer", "SELECT 4.0", Verdict.CORRECT),
        ("SELECT count(*) FROM customer", "SELECT '4'", Verdict.WRONG),
        (CONSTANTS, "SELECT 2, 1, 3 UNION ALL SELECT 3, 2, 1 UNION ALL SELECT 1, 3, 2", Verdict.CORRECT),
        (CONSTANTS, "SELECT 1, 2, 3 UNION ALL SELECT 2, 1, 1 UNION ALL SELECT 3, 3, 2", Verdict.WRONG),
        ("SELECT 1 WHERE 0", "SELECT name FROM customer WHERE 0", Verdict.BOTH_EMPTY),
        ("SELECT 1 WHERE 0", "SELECT 1", Verdict.WRONG),
        (NAMES, "SELECT nam FROM customer", Verdict.ERROR),
        (NAMES, "DELETE FROM customer", Verdict.ERROR),
        (NAMES, ENDLESS, Verdict.TIMEOUT),
        (NAMES, None, Verdict.UNEXTRACTABLE),
        ("SELECT nam FROM customer", NAMES, Verdict.GOLD_FAILED),
        ("SELECT nam FROM customer", None, Verdict.UNEXTRACTABLE),
        (ENDLESS, NAMES, Verdict.GOLD_TIMEOUT),
        (MANY, NAMES, Verdict.DISPUTED),
        (MANY, None, Verdict.UNEXTRACTABLE),
        (NAMES, MANY, Verdict.DISPUTED),
    ],
)
def test_verdict(pool: SandboxPool, shop: Path, gold: str, sql: str | None, verdict: Verdict) -> None:
    (judgement,) = Judge(pool).judge(shop, gold, [sql])
    assert judgement.verdict is verdict
    assert judgement.policy == "strict"


def test_same_texts_run_once_and_order_is_kept(pool: SandboxPool, shop: Path) -> None:
    judge = Judge(pool)
    found = judge.judge(shop, NAMES, [NAMES, None, "SELECT 1", NAMES])
    wanted = [Verdict.CORRECT, Verdict.UNEXTRACTABLE, Verdict.WRONG, Verdict.CORRECT]
    assert [judgement.verdict for judgement in found] == wanted
    assert found[0].execution is found[3].execution
    assert judge.judge(shop, NAMES, ["SELECT 2"])[0].gold is found[0].gold


def test_gold_has_the_longer_budget(shop: Path) -> None:
    slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 3000000) SELECT count(*) FROM c"
    with SandboxPool(1, Limits(deadline_s=0.05, gold_deadline_s=60)) as pool:
        (judgement,) = Judge(pool).judge(shop, slow, [slow])
    assert (judgement.gold.outcome, judgement.verdict) == (Outcome.OK, Verdict.TIMEOUT)


def test_too_many_arrangements_are_disputed(shop: Path) -> None:
    # Five columns that are rotations of one another: the same bag each, so only trying tells.
    rotations = " UNION ALL ".join(f"SELECT {', '.join(str((row + col) % 5) for col in range(5))}" for row in range(5))
    swapped = " UNION ALL ".join(f"SELECT {', '.join(str((row - col) % 5) for col in range(5))}" for row in range(5))
    with SandboxPool(1, replace(Limits(), max_arrangements=2)) as few, SandboxPool(1) as many:
        assert Judge(many).judge(shop, rotations, [swapped])[0].verdict is Verdict.CORRECT
        assert Judge(few).judge(shop, rotations, [swapped])[0].verdict is Verdict.DISPUTED


def test_undecided_match_is_disputed(pool: SandboxPool, shop: Path) -> None:
    ran = pool.execute(shop, NAMES)
    assert compare_results(ran, ran) is Verdict.DISPUTED


def test_columns_may_be_fixed(pool: SandboxPool, shop: Path) -> None:
    fixed = Judge(pool, ConfiguredPolicy(Policy.STRICT, any_column_order=False))
    swapped = "SELECT city, name FROM customer"
    assert [j.verdict for j in fixed.judge(shop, NAMES, [NAMES, swapped])] == [Verdict.CORRECT, Verdict.WRONG]


@pytest.mark.parametrize(
    ("text", "sql", "verdict"),
    [
        ("Who lives in Oslo?", 'SELECT name FROM customer WHERE city = "Oslo"', Verdict.CORRECT),
        ("Who lives in OSLO?", 'SELECT name FROM customer WHERE city = "Oslo"', Verdict.CORRECT),
        ("", 'SELECT name FROM customer WHERE city = "Oslo"', Verdict.CORRECT),
        ("Who lives in the capital?", 'SELECT name FROM customer WHERE city = "Oslo" OR "town" = 1', Verdict.ERROR),
        ("Who lives in Oslo?", 'SELECT name FROM customer WHERE city = "Oslo" OR "town" = 1', Verdict.ERROR),
        ("Who lives in town Oslo?", 'SELECT name FROM customer WHERE city = "Oslo" OR "town" = 1', Verdict.CORRECT),
    ],
)
def test_a_name_in_double_quotes_must_be_spoken_of(
    pool: SandboxPool, shop: Path, text: str, sql: str, verdict: Verdict
) -> None:
    (judged,) = Judge(pool).judge(shop, "SELECT name FROM customer WHERE city LIKE 'o%'", [sql], text)
    assert judged.verdict is verdict
    assert judged.execution is not None
    if verdict is Verdict.ERROR:
        assert judged.execution.outcome is Outcome.UNKNOWN_COLUMN
        assert 'no such column: "' in (judged.execution.message or "")
        (official,) = Judge(pool, Policy.SPIDER).judge(shop, "SELECT 'Bob'", [sql], text)
        assert official.verdict is Verdict.CORRECT


def test_golds_are_remembered_by_content_and_for_other_processes(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache" / "golds.sqlite"
    question = JudgeQuestion(shop, NAMES, (NAMES,), content="the-same")
    other = replace(question, database=tmp_path / "absent.sqlite", candidates=())
    with SandboxPool(1) as pool:
        first = Judge(pool, golds=GoldCache(file)).judge_many([question])[0][0]
        (again,) = Judge(pool, golds=GoldCache(file)).run_golds([other])
        assert (again.fingerprint, again.rows) == (first.gold.fingerprint, first.gold.rows)
        assert again.target() == first.gold.target()
        with pytest.raises(Exception, match="absent"):
            Judge(pool, Policy.BIRD, golds=GoldCache(file)).run_golds([other])
        with pytest.raises(Exception, match="absent"):
            Judge(pool, golds=GoldCache(file)).run_golds([replace(other, content="another")])


def test_a_gold_that_ran_out_of_time_is_told_to_nobody_else(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "golds.sqlite"
    with SandboxPool(1, Limits(deadline_s=0.2, gold_deadline_s=0.2)) as pool:
        assert Judge(pool, golds=GoldCache(file)).judge(shop, ENDLESS, [NAMES])[0].verdict is Verdict.GOLD_TIMEOUT
    with SandboxPool(1) as pool:
        (gold,) = Judge(pool, golds=GoldCache(file)).run_golds([JudgeQuestion(shop, "SELECT 1", (), content="x")])
        assert gold.outcome is Outcome.OK
    memory = GoldCache(tmp_path)  # a folder where the file should be: nothing is known, nothing fails
    memory.remember({"key": gold})
    assert memory.find(["key"]) == {"key": gold}


def test_verdicts_do_not_depend_on_order_or_children(shop: Path) -> None:
    golds = [NAMES, BY_NAME, "SELECT sum(total) FROM orders", "SELECT nam FROM customer", "SELECT 1 WHERE 0"]
    sqls = (NAMES, BY_NAME, "SELECT city, name FROM customer", "SELECT 35.85", None, "SELEC", "SELECT 1 WHERE 0")
    questions = [JudgeQuestion(shop, gold, sqls) for gold in golds]
    found = []
    for children, seed in ((1, 0), (2, 1), (4, 2)):
        order = random.Random(seed).sample(range(len(questions)), len(questions))
        with SandboxPool(children) as pool:
            judged = Judge(pool).judge_many([questions[place] for place in order])
        by_place = dict(zip(order, judged, strict=True))
        found.append([[j.verdict for j in by_place[place]] for place in range(len(questions))])
    assert found[0] == found[1] == found[2]
    assert Verdict.CORRECT in found[0][0] and Verdict.WRONG in found[0][0]
