"""Verdicts under the strict policy, and the hashes behind them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.columns import Target, agrees, arrangements, marks
from services.sandbox.judge import Judge, compared
from services.sandbox.limits import Limits
from services.sandbox.ordering import order_matters
from services.sandbox.pool import SandboxPool
from services.sandbox.results import Tally, canonical
from services.sandbox.text import has_outer_order_by, one_line, tokens
from shared.contracts.records import Outcome, Verdict

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
        (MANY, NAMES, Verdict.WRONG),
        (MANY, MANY + " ", Verdict.DISPUTED),
        (NAMES, MANY, Verdict.WRONG),
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


@pytest.mark.parametrize(
    ("sql", "matters"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x ORDER BY 1 LIMIT 1;", True),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY 1", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT a FROM t WHERE b = (SELECT max(b) FROM t ORDER BY 1)", False),
        ("SELECT 'order by a' FROM t -- order by", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
    ],
)
def test_order_matters_only_outermost(sql: str, matters: bool) -> None:
    assert order_matters(sql) is matters
    assert has_outer_order_by(sql) is matters


def test_order_of_a_text_that_sqlglot_cannot_read() -> None:
    assert order_matters("SELECT a FROM t INDEXED BY i WHERE a GLOB )( ORDER BY a")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (-0.0, 0, True),
        (12345678901.000002, 12345678901, True),
        (1234567891, 1234567892, False),
        (1.00001, 1.00002, False),
        (None, "", False),
        ("1", 1, False),
        (b"1", "1", False),
        (float("inf"), float("-inf"), False),
    ],
)
def test_canonical_cells(left: object, right: object, same: bool) -> None:
    assert (canonical(left) == canonical(right)) is same  # type: ignore[arg-type]


CELLS = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([0.5, 1.0]), st.sampled_from(["", "a"]), st.just(b"a"))
TABLES = st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1))


def tallied(rows: list[list[object]]) -> Tally:
    tally = Tally(hold=True)
    for row in rows:
        tally.add(row)  # type: ignore[arg-type]
    return tally


@given(TABLES, st.randoms(use_true_random=False))
def test_any_shuffle_of_rows_and_columns_is_the_same_bag(rows: list[list[object]], chance: object) -> None:
    width = len(rows[0])
    order = chance.sample(range(width), width)  # type: ignore[attr-defined]
    shuffled = [[row[column] for column in order] for row in chance.sample(rows, len(rows))]  # type: ignore[attr-defined]
    gold, mine = tallied(rows), tallied(shuffled)
    target = Target(gold.bag_hash(), False, gold.rows, marks(gold.held or [], width))
    assert agrees(mine.held or [], width, target, 1000, lambda: None)
    shorter = tallied(shuffled[1:])
    assert not agrees(shorter.held or [], width, target, 1000, lambda: None)


def test_equal_columns_are_not_permuted() -> None:
    rows = [[1] * 12, [2] * 12]
    found = marks(rows, 12)
    assert list(arrangements(found, found)) == [list(range(12))]


@given(st.text(alphabet="'\"`[]-/*; \nabORDERBY()", max_size=60))
def test_tokens_lose_nothing(text: str) -> None:
    assert "".join(part for _, part in tokens(text)) == text
    assert "\n" not in one_line(text) or any(quote in text for quote in "'\"`[")


def test_undecided_match_is_disputed(pool: SandboxPool, shop: Path) -> None:
    ran = pool.execute(shop, NAMES)
    assert compared(ran, ran) is Verdict.DISPUTED
