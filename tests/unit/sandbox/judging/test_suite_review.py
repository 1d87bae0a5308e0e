"""Right answers compared with their golds on test-suite databases: a disagreement disputes only where one counts."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.judge import Judge, JudgeQuestion
from services.sandbox.judging.suite_review import DatabaseSuite, SuiteReview
from services.sandbox.judging.verdicts import Judgement
from services.sandbox.test_suites.generate import prepare_suite
from shared.contracts.records import Policy, Verdict
from shared.storage.directory import DirectoryStore
from shared.storage.keys import database_key
from tests.unit.sandbox.conftest import make_shop

ADULTS = "SELECT name FROM customer WHERE id > 1"


@pytest.fixture(scope="module")
def two() -> Iterator[SandboxPool]:
    with SandboxPool(2) as pool:
        yield pool


def variant(path: Path, *changes: str) -> Path:
    make_shop(path)
    connection = sqlite3.connect(path)
    connection.executescript(";".join(changes))
    connection.close()
    return path


@pytest.fixture
def near(tmp_path: Path) -> dict[str, Path]:
    """Neighbours by what they change."""
    return {
        "more": variant(tmp_path / "more.sqlite", "INSERT INTO customer VALUES (5, 'Eve', 'Rome'), (0, 'Zoe', 'Oslo')"),
        "tie": variant(tmp_path / "tie.sqlite", "UPDATE orders SET total = 20.5"),
        "none": variant(tmp_path / "none.sqlite", "DELETE FROM orders", "DELETE FROM customer"),
        "same": variant(tmp_path / "same.sqlite"),
    }


def look(
    pool: SandboxPool, shop: Path, gold: str, sql: str | None, *files: Path, policy: Policy = Policy.STRICT
) -> Judgement:
    judge = Judge(pool, policy)
    questions = [JudgeQuestion(shop, gold, (sql,))]
    keys = {"customer": frozenset({"id"}), "orders": frozenset({"id"})}
    ((judgement,),) = SuiteReview(judge).review(
        questions, judge.judge_many(questions), {shop: DatabaseSuite(files, keys)}
    )
    return judgement


def told(judgement: Judgement) -> tuple[Verdict, int, int]:
    return judgement.verdict, judgement.suite_databases, judgement.suite_databases_lost


def test_right_by_chance_is_disputed(two: SandboxPool, shop: Path, near: dict[str, Path]) -> None:
    by_chance = "SELECT name FROM customer WHERE id BETWEEN 2 AND 4"
    assert told(look(two, shop, ADULTS, by_chance, near["more"], near["same"])) == (Verdict.DISPUTED, 2, 1)
    assert told(look(two, shop, ADULTS, by_chance, near["same"])) == (Verdict.CORRECT, 1, 0)
    assert told(look(two, shop, ADULTS, "SELECT name FROM customer WHERE NOT id <= 1", near["more"])) == (
        Verdict.CORRECT,
        1,
        0,
    )


def test_nothing_but_correct_changes(two: SandboxPool, shop: Path, near: dict[str, Path]) -> None:
    for sql, verdict in (("SELECT 1", Verdict.WRONG), (None, Verdict.UNEXTRACTABLE), ("SELEC", Verdict.ERROR)):
        assert told(look(two, shop, ADULTS, sql, *near.values())) == (verdict, 0, 0)
    empty = "SELECT name FROM customer WHERE 0"
    assert told(look(two, shop, empty, "SELECT 1 WHERE 0", *near.values())) == (Verdict.BOTH_EMPTY, 0, 0)


def test_a_suite_database_counts_only_where_the_gold_says_something(
    two: SandboxPool, shop: Path, near: dict[str, Path]
) -> None:
    assert told(look(two, shop, ADULTS, ADULTS, near["none"])) == (Verdict.CORRECT, 0, 0)
    dearest = "SELECT id FROM orders ORDER BY total DESC LIMIT 1"
    other = "SELECT id FROM orders ORDER BY total DESC, id DESC LIMIT 1"
    assert told(look(two, shop, dearest, other, near["tie"], near["same"])) == (Verdict.CORRECT, 1, 0)
    bare = "SELECT name, max(total) FROM customer JOIN orders ON customer.id = customer_id GROUP BY city"
    assert told(look(two, shop, bare, bare, *near.values())) == (Verdict.CORRECT, 0, 0)


def test_an_order_that_the_gold_leaves_open_is_compared_as_a_bag(
    two: SandboxPool, shop: Path, near: dict[str, Path]
) -> None:
    gold = "SELECT id FROM orders ORDER BY total"
    assert told(look(two, shop, gold, gold + ", id DESC", near["tie"])) == (Verdict.CORRECT, 1, 0)
    assert told(look(two, shop, gold, "SELECT id FROM orders ORDER BY total, -id", near["same"])) == (
        Verdict.CORRECT,
        1,
        0,
    )
    by_chance = "SELECT id FROM orders WHERE total < 20.5 OR id = 2 ORDER BY total"
    assert told(look(two, shop, gold, by_chance, near["tie"])) == (Verdict.DISPUTED, 1, 1)


def test_columns_in_another_order_stay_right(two: SandboxPool, shop: Path, near: dict[str, Path]) -> None:
    gold, swapped = "SELECT id, name FROM customer", "SELECT name, id FROM customer"
    assert told(look(two, shop, gold, swapped, near["more"])) == (Verdict.CORRECT, 1, 0)
    assert told(look(two, shop, gold, swapped, near["more"], policy=Policy.SPIDER)) == (Verdict.CORRECT, 1, 0)


def test_suite_databases_are_built_once_and_kept_beside_the_database(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.sandbox.building.databases import store_database

    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "state"))
    objects = DirectoryStore(tmp_path / "objects")
    with SandboxPool(1) as pool:
        store_database(objects, shop, "a" * 64, pool)
    first = prepare_suite(objects, "a" * 64, [ADULTS], 3)
    kept = [key for key in objects.list("test-suites/") if key.startswith(f"test-suites/{'a' * 64}/")]
    assert len(kept) == len(first.files) == 3
    assert first.keys == {"customer": frozenset({"id"}), "orders": frozenset({"id"})}
    made = [path.read_bytes() for path in first.files]
    objects.delete(database_key("a" * 64))  # so that making them again would fail
    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "other"))
    again = prepare_suite(objects, "a" * 64, [ADULTS], 3)
    assert [path.read_bytes() for path in again.files] == made
    assert len(list(objects.list("test-suites/"))) == 3


def test_a_database_that_cannot_be_varied_has_no_test_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "state"))
    objects = DirectoryStore(tmp_path / "objects")
    objects.put(database_key("b" * 64), b"this is no database at all, only text that stands in its place")
    assert prepare_suite(objects, "b" * 64, [ADULTS], 3) == DatabaseSuite((), {})
