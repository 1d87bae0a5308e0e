"""Every outcome that a SQL can have, with a message that names its culprit; and what is refused before any outcome."""

import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from services.sandbox.execution import outcomes
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool, execute_once
from shared.contracts.records import Outcome
from shared.errors import InvalidInputError, NotFoundError


@pytest.mark.parametrize(
    ("sql", "outcome", "named"),
    [
        ("SELECT name FROM customer", Outcome.OK, ""),
        ("SELECT name FROM customer WHERE 0", Outcome.EMPTY, ""),
        ("SELEC name FROM customer", Outcome.SYNTAX_ERROR, "SELEC"),
        ("SELECT (name FROM customer", Outcome.SYNTAX_ERROR, "FROM"),
        ("SELECT 'open", Outcome.SYNTAX_ERROR, "'open"),
        ("", Outcome.SYNTAX_ERROR, "no statement"),
        ("-- nothing\n;", Outcome.SYNTAX_ERROR, "no statement"),
        ("SELECT * FROM customer WHERE id = ?", Outcome.SYNTAX_ERROR, "parameter"),
        ("SELECT nam FROM customer", Outcome.UNKNOWN_COLUMN, "nam"),
        ("SELECT c.x FROM customer c", Outcome.UNKNOWN_COLUMN, "c.x"),
        ("SELECT * FROM customer JOIN orders USING (city)", Outcome.UNKNOWN_COLUMN, "city"),
        ("SELECT * FROM clients", Outcome.UNKNOWN_TABLE, "clients"),
        ("SELECT id FROM customer, orders", Outcome.AMBIGUOUS_COLUMN, "id"),
        ("SELECT nofunction(1)", Outcome.TYPE_OR_FUNCTION_ERROR, "nofunction"),
        ("SELECT abs(1, 2)", Outcome.TYPE_OR_FUNCTION_ERROR, "abs"),
        ("SELECT name FROM customer WHERE max(id) = 1", Outcome.TYPE_OR_FUNCTION_ERROR, "max"),
        ("SELECT json('{')", Outcome.TYPE_OR_FUNCTION_ERROR, "JSON"),
        ("SELECT 1 LIMIT 'a'", Outcome.TYPE_OR_FUNCTION_ERROR, "mismatch"),
        ("SELECT 1; DROP TABLE customer", Outcome.MULTI_STATEMENT, "DROP TABLE customer"),
        ("SELECT 1; -- done\n/* really */ ;", Outcome.OK, ""),
    ],
)
def test_outcome_and_message(pool: SandboxPool, shop: Path, sql: str, outcome: Outcome, named: str) -> None:
    ran = pool.execute(shop, sql)
    assert ran.outcome is outcome
    assert named in (ran.message or "")
    assert (ran.message is None) == ran.complete
    assert ran.view().outcome is outcome


def test_every_outcome_of_the_child_is_one_of_the_contract() -> None:
    source = Path(outcomes.__file__).read_text()
    spoken = {name for name, _ in outcomes.PATTERNS} | set(re.findall(r'Failure\("(\w+)"', source))
    assert len(spoken) > 8
    assert spoken <= {outcome.value for outcome in Outcome}


def test_double_quotes_are_read_as_strings_and_flagged(pool: SandboxPool, shop: Path) -> None:
    ran = pool.execute(shop, 'SELECT name FROM customer WHERE city = "Oslo"')
    assert (ran.rows, bool(ran.double_quoted_strings)) == ([["Bob"]], True)
    assert not pool.execute(shop, 'SELECT "name" FROM customer').double_quoted_strings


def test_text_that_is_not_utf8(pool: SandboxPool, shop: Path) -> None:
    sql = "SELECT CAST(x'61ff' AS TEXT) AS t, id FROM customer ORDER BY id DESC -- end"
    ran = pool.execute(shop, sql)
    assert (ran.columns, ran.rows[0], ran.row_count) == (["t", "id"], ["a\ufffd", 4], 4)
    with SandboxPool(1, replace(Limits(), text_errors="strict")) as strict:
        assert strict.execute(shop, sql).outcome is Outcome.DECODE_ERROR


def test_view_is_json_safe_and_cut(pool: SandboxPool, shop: Path) -> None:
    ran = pool.execute(shop, "SELECT x'00ff', 1e999, NULL, 9007199254740993, hex(zeroblob(5000))")
    assert ran.rows[0][:4] == ["00ff", "Infinity", None, 9007199254740993]
    assert (len(str(ran.rows[0][4])), ran.truncated) == (1000, True)


def test_execute_once(shop: Path) -> None:
    answer = execute_once(shop, "SELECT id FROM customer ORDER BY id", max_rows=2)
    assert answer.pop("elapsed_ms") >= 0
    expected = {"outcome": "ok", "columns": ["id"], "rows": [[1], [2]], "row_count": 4, "truncated": True}
    assert answer == {**expected, "message": None}


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_deadline_must_be_positive(pool: SandboxPool, shop: Path, deadline: float) -> None:
    with pytest.raises(InvalidInputError, match="deadline"):
        pool.execute(shop, "SELECT 1", deadline_s=deadline)


def test_files_that_are_no_database(pool: SandboxPool, shop: Path, tmp_path: Path) -> None:
    whole = shop.read_bytes()
    cases = {
        "empty": b"",
        "text": b"hello world, this is text",
        "cut": whole[:5000],
        "noise": whole[:100] + b"\xff" * 8092,
    }
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=name):
            pool.execute(path, "SELECT * FROM customer")
    with pytest.raises(NotFoundError, match="absent"):
        pool.execute(tmp_path / "absent", "SELECT 1")
    with pytest.raises(InvalidInputError, match="directory"):
        pool.execute(tmp_path, "SELECT 1")
    assert not (tmp_path / "absent").exists()
    assert pool.execute(shop, "SELECT 1").rows == [[1]]


def test_damage_inside_the_file_names_the_file(pool: SandboxPool, shop: Path) -> None:
    data = bytearray(shop.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    shop.write_bytes(bytes(data))
    with pytest.raises(InvalidInputError, match="shop"):
        pool.execute(shop, "SELECT * FROM customer")


def test_unfinished_writes_beside_the_file_are_refused(pool: SandboxPool, shop: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(shop)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("DELETE FROM orders")
    connection.commit()
    copy = tmp_path / "live.sqlite"
    shutil.copy(shop, copy)
    shutil.copy(f"{shop}-wal", f"{copy}-wal")
    connection.close()
    with pytest.raises(InvalidInputError, match="unfinished"):
        pool.execute(copy, "SELECT 1")


def test_a_changed_file_is_opened_anew(pool: SandboxPool, shop: Path) -> None:
    assert pool.execute(shop, "SELECT count(*) FROM customer").rows == [[4]]
    with sqlite3.connect(shop) as connection:
        connection.execute("DELETE FROM customer WHERE id > 1")
    connection.close()
    assert pool.execute(shop, "SELECT count(*) FROM customer").rows == [[1]]
