"""Queries changed at random: whatever comes of them has an outcome, in time, and the next query is served."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from shared.contracts.records import Outcome
from tests.unit.sandbox.conftest import make_shop
from tests.unit.sandbox.execution.sql_mutations import by_text, by_tree

ROOT = Path(__file__).resolve().parents[4]
DATA = Path(os.environ.get("SENSE_TEST_DATA", ROOT.parent / "shared" / "data"))
QUERIES = Path(__file__).with_name("queries.sql").read_text(encoding="utf-8").splitlines()
# The same examples on every machine, and no file of examples: what CI sees is what a developer sees.
STEADY = settings(
    max_examples=400, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shop(tmp_path_factory.mktemp("fuzz") / "shop.sqlite")


@pytest.fixture(scope="module")
def fuzz_pool() -> Iterator[SandboxPool]:
    with SandboxPool(children=1, limits=Limits(deadline_s=0.1, grace_s=0.1, max_rows=2000)) as pool:
        yield pool


def check(pool: SandboxPool, database: Path, sql: str, safe: Path) -> None:
    """One run, and one after it."""
    ran = pool.execute(database, sql, keep_rows=5)
    assert isinstance(ran.outcome, Outcome)
    assert ran.outcome not in (Outcome.KILLED, Outcome.UNEXTRACTABLE), ran.message
    assert (ran.message is None) == ran.complete
    assert ran.complete or ran.message
    json.dumps(ran.rows, allow_nan=False)
    assert pool.execute(safe, "SELECT count(*) FROM customer", deadline_s=10).rows == [[4]]


@STEADY
@given(sql=st.sampled_from(QUERIES), seed=SEEDS)
def test_changed_trees(fuzz_pool: SandboxPool, fuzzed: Path, sql: str, seed: int) -> None:
    check(fuzz_pool, fuzzed, by_tree(sql, seed), fuzzed)


@STEADY
@given(sql=st.sampled_from(QUERIES), other=st.sampled_from(QUERIES), seed=SEEDS)
def test_changed_texts(fuzz_pool: SandboxPool, fuzzed: Path, sql: str, other: str, seed: int) -> None:
    check(fuzz_pool, fuzzed, by_text(sql, other, seed), fuzzed)


@STEADY
@given(sql=st.text(max_size=200))
def test_any_text(fuzz_pool: SandboxPool, fuzzed: Path, sql: str) -> None:
    check(fuzz_pool, fuzzed, sql, fuzzed)


@STEADY
@given(
    sql=st.lists(
        st.sampled_from([*" ()[]'\"`;,.*/-<>=|&~+%\n\t", *(w for q in QUERIES for w in q.split())]), max_size=60
    )
)
def test_any_words(fuzz_pool: SandboxPool, fuzzed: Path, sql: list[str]) -> None:
    check(fuzz_pool, fuzzed, " ".join(sql), fuzzed)


def spider_golds() -> list[tuple[Path, str]]:
    """Golds of Spider's dev set with their databases; none where the data is not here."""
    golds = DATA / "spider" / "dev_gold.sql"
    if not golds.exists():
        return []
    pairs = (line.rpartition("\t") for line in golds.read_text(encoding="utf-8").splitlines() if "\t" in line)
    files = ((DATA / "spider" / "database" / name / f"{name}.sqlite", sql) for sql, _, name in pairs)
    return [(path, sql) for path, sql in files if path.exists()]


GOLDS = spider_golds()


@pytest.mark.skipif(not GOLDS, reason=f"Spider's dev set is not in {DATA}; SENSE_TEST_DATA names another folder")
@STEADY
@given(data=st.data(), seed=SEEDS)
def test_changed_golds_of_spider(fuzz_pool: SandboxPool, fuzzed: Path, data: st.DataObject, seed: int) -> None:
    database, sql = data.draw(st.sampled_from(GOLDS))
    other = data.draw(st.sampled_from(QUERIES))
    check(fuzz_pool, database, by_tree(sql, seed) if seed % 2 else by_text(sql, other, seed), fuzzed)
