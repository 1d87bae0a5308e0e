"""Hostile SQL: it ends, it writes nothing, and the next query is served."""

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from shared.contracts.records import Outcome

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c)"
HUNDRED = "(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n LIMIT 100) SELECT x FROM n)"
CROSS = f"SELECT count(*) FROM {HUNDRED} a, {HUNDRED} b, {HUNDRED} c, {HUNDRED} d, {HUNDRED} e"
STALL = "SELECT instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1')"


@pytest.mark.parametrize(
    "sql", [f"{ENDLESS} SELECT count(*) FROM c", CROSS, STALL], ids=["recursion", "cross", "opcode"]
)
def test_runaway_ends_as_timeout_and_next_query_is_served(pool: SandboxPool, shop: Path, sql: str) -> None:
    ran = pool.execute(shop, sql)
    assert (ran.outcome, ran.rows, ran.fingerprint) == (Outcome.TIMEOUT, [], None)
    assert ran.message is not None and "deadline" in ran.message
    assert pool.execute(shop, "SELECT count(*) FROM customer").rows == [[4]]


@pytest.mark.parametrize(
    ("sql", "outcomes"),
    [
        ("SELECT zeroblob(1000000000)", {Outcome.BYTE_LIMIT}),
        ("SELECT hex(zeroblob(900000))", {Outcome.BYTE_LIMIT}),
        ("SELECT replace(hex(zeroblob(400000)), '0', 'aaaaaaaaaa')", {Outcome.BYTE_LIMIT}),
        ("SELECT length(printf('%.*c', 100000000, 'x'))", {Outcome.OK, Outcome.BYTE_LIMIT}),
        (f"{ENDLESS} SELECT group_concat(x) FROM c", {Outcome.BYTE_LIMIT, Outcome.TIMEOUT}),
        (
            f"{ENDLESS} SELECT zeroblob(900000) AS z FROM (SELECT x FROM c LIMIT 400) ORDER BY z, x",
            {Outcome.MEMORY_LIMIT},
        ),
    ],
)
def test_memory_bombs(pool: SandboxPool, shop: Path, sql: str, outcomes: set[Outcome]) -> None:
    assert pool.execute(shop, sql, deadline_s=5).outcome in outcomes
    assert pool.execute(shop, "SELECT 1").rows == [[1]]


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("INSERT INTO customer VALUES (9,'x','y')", "insert customer"),
        ("UPDATE customer SET name='x'", "update customer"),
        ("DELETE FROM customer", "delete customer"),
        ("DROP TABLE customer", "delete sqlite_master"),
        ("CREATE TABLE t(a)", "insert sqlite_master"),
        ("CREATE TEMP TABLE t(a)", "insert sqlite_temp_master"),
        ("ATTACH 'new.sqlite' AS n", "attach new.sqlite"),
        ("VACUUM INTO 'copy.sqlite'", "attach"),
        ("PRAGMA query_only=0", "pragma query_only"),
        ("PRAGMA journal_mode=WAL", "pragma journal_mode"),
        ("SELECT * FROM pragma_table_info('customer')", "pragma_table_info"),
        ("SELECT count(*) FROM pragma_database_list", "pragma_database_list"),
        ("SELECT count(*) FROM dbstat", "dbstat"),
        ("SELECT load_extension('/tmp/x.so')", "function load_extension"),
        ("SELECT random()", "function random"),
        ("BEGIN", "transaction"),
        ("SAVEPOINT s", "savepoint"),
    ],
)
def test_only_reading_is_allowed(pool: SandboxPool, shop: Path, sql: str, named: str) -> None:
    before = hashlib.sha256(shop.read_bytes()).hexdigest()
    ran = pool.execute(shop, sql)
    assert ran.outcome is Outcome.NOT_AUTHORIZED
    assert ran.message is not None and named in ran.message
    assert hashlib.sha256(shop.read_bytes()).hexdigest() == before
    assert [path.name for path in shop.parent.iterdir()] == [shop.name]


def test_a_query_may_use_ctes_json_and_the_schema_table(pool: SandboxPool, shop: Path) -> None:
    assert pool.execute(shop, "WITH a AS (SELECT id FROM customer) SELECT count(*) FROM a").rows == [[4]]
    assert pool.execute(shop, "SELECT sum(value) FROM json_each('[1,2]')").rows == [[3]]
    assert pool.execute(shop, "SELECT count(*) FROM sqlite_master").rows == [[2]]


def test_a_full_text_table_can_be_searched(pool: SandboxPool, tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('hello world'), ('good bye')")
    connection.close()
    assert pool.execute(path, "SELECT a FROM f WHERE f MATCH 'hello'").rows == [["hello world"]]


@pytest.mark.parametrize("text", ["SELECT 1 -- " + "x" * 10_000_000, "SELECT '" + "x" * 10_000_000])
def test_ten_megabytes_of_sql(pool: SandboxPool, shop: Path, text: str) -> None:
    ran = pool.execute(shop, text)
    assert ran.outcome is Outcome.BYTE_LIMIT
    assert ran.message is not None and "100000" in ran.message


def test_text_that_sqlite_cannot_take(pool: SandboxPool, shop: Path) -> None:
    assert "NUL" in (pool.execute(shop, "SELECT 1\x00").message or "")
    assert "Unicode" in (pool.execute(shop, "SELECT '\ud800'").message or "")
    assert pool.execute(shop, "SELECT " + "(" * 90_000).outcome in {Outcome.SYNTAX_ERROR, Outcome.MEMORY_LIMIT}
    assert pool.execute(shop, "SELECT " + "[" * 90_000).outcome is Outcome.SYNTAX_ERROR
    assert pool.execute(shop, "SELECT 1").rows == [[1]]


def test_results_are_capped_and_say_so(pool: SandboxPool, shop: Path) -> None:
    rows = pool.execute(shop, f"{ENDLESS} SELECT x FROM c", keep_rows=3)
    assert (rows.outcome, rows.rows, rows.row_count, rows.truncated) == (Outcome.ROW_LIMIT, [[1], [2], [3]], 1000, True)
    assert (rows.fingerprint, rows.capped) == (None, True)
    with SandboxPool(1, replace(Limits(), max_bytes=10_000)) as small:
        assert small.execute(shop, f"{ENDLESS} SELECT hex(zeroblob(3000)) FROM c").outcome is Outcome.BYTE_LIMIT


def test_heavy_rows_after_light_ones_are_not_gathered(pool: SandboxPool, shop: Path) -> None:
    """They once made the child hold 256 rows of 20 MB before it looked at their size."""
    heavy = ", ".join(["CASE WHEN x > 17 THEN zeroblob(999000) END"] * 21)
    with SandboxPool(1) as own:
        own.execute(shop, "SELECT 1")
        (pid,) = own.pids()
        assert own.execute(shop, f"{ENDLESS} SELECT {heavy} FROM c", deadline_s=20).outcome is Outcome.BYTE_LIMIT
        (peak,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    assert int(peak.split()[1]) < 300_000  # kB
