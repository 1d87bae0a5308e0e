"""Databases from scripts, and their cards."""

import hashlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.sandbox.building.databases import build_database, make_card
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import BuildProcess, SandboxPool
from shared.contracts.records import DatabaseScript
from shared.errors import CancelledError, InvalidInputError, NotFoundError

SHOP = DatabaseScript(
    ddl=[
        "CREATE TABLE town(\n  id INTEGER PRIMARY KEY, -- the number\n"
        "  name  TEXT NOT NULL, seen TEXT DEFAULT CURRENT_TIMESTAMP)",
        "CREATE TABLE firm(code text, town_id INT REFERENCES town, boss INT, FOREIGN KEY (boss) REFERENCES person(id))",
        "CREATE TABLE person(id INTEGER PRIMARY KEY AUTOINCREMENT, pay REAL)",
        "CREATE UNIQUE INDEX firm_code ON firm(code)",
    ],
    inserts=[
        "INSERT INTO firm VALUES ('a  b', 1, 1), ('c', NULL, NULL)",
        "INSERT INTO town(id, name) VALUES (1, 'Oslo'), (2, date('now'))",
        "INSERT INTO person(pay) SELECT 10.5 UNION ALL SELECT 11;",
    ],
)
TABLE = "CREATE TABLE t(a INTEGER, b TEXT)"


def script(*inserts: str, ddl: tuple[str, ...] = (TABLE,)) -> DatabaseScript:
    return DatabaseScript(ddl=list(ddl), inserts=list(inserts))


@pytest.fixture(scope="module")
def builder() -> Iterator[BuildProcess]:
    """One child for all tests: what one script does must not reach the next."""
    own = BuildProcess()
    yield own
    own.close()


def test_one_child_builds_many_and_a_dead_one_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = BuildProcess()
    first = build_database(SHOP, tmp_path / "a.sqlite", own)
    child = own.pid
    with pytest.raises(InvalidInputError):
        build_database(script("INSERT INTO t VALUES (1, 'x')", "INSERT INTO t VALUES (1)"), tmp_path / "x.sqlite", own)
    assert build_database(SHOP, tmp_path / "b.sqlite", own) == first
    assert own.pid == child
    assert child is not None
    os.kill(child, signal.SIGKILL)
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert build_database(SHOP, tmp_path / "c.sqlite", own) == first
    monkeypatch.setattr("services.sandbox.execution.pool.MAX_BUILDS", 1)
    second = own.pid
    assert second != child
    assert build_database(SHOP, tmp_path / "d.sqlite", own) == first
    assert own.pid != second
    own.close()
    with pytest.raises(CancelledError):
        build_database(SHOP, tmp_path / "e.sqlite", own)


def test_a_build_ends_when_its_desk_is_killed(tmp_path: Path) -> None:
    own = BuildProcess()
    endless = script(f"INSERT INTO t SELECT 1, count(*) FROM ({SERIES.format(limit='')})")
    threading.Timer(0.5, own.kill).start()
    with pytest.raises(CancelledError):
        build_database(endless, tmp_path / "a.sqlite", own)
    own.close()
    assert list(tmp_path.iterdir()) == []


def test_same_script_same_bytes_sealed(tmp_path: Path, builder: BuildProcess) -> None:
    first = build_database(SHOP, tmp_path / "a.sqlite", builder)
    assert build_database(SHOP, tmp_path / "b.sqlite", builder) == first
    assert hashlib.sha256((tmp_path / "a.sqlite").read_bytes()).hexdigest() == first
    assert (tmp_path / "a.sqlite").stat().st_mode & 0o777 == 0o444
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sqlite", "b.sqlite"]
    assert build_database(SHOP, tmp_path / "a.sqlite", builder) == first


def test_what_is_built_can_be_queried(tmp_path: Path, builder: BuildProcess) -> None:
    build_database(SHOP, tmp_path / "a.sqlite", builder)
    with SandboxPool(1) as pool:
        ran = pool.execute(tmp_path / "a.sqlite", "SELECT name, seen FROM town JOIN firm ON town.id = town_id")
    assert ran.rows == [["Oslo", "2000-01-01 00:00:00"]]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (script(ddl=("ATTACH 'x.sqlite' AS x",)), "ddl statement 1 .ATTACH"),
        (script(ddl=(TABLE, "PRAGMA journal_mode=WAL")), "ddl statement 2 .PRAGMA"),
        (script(ddl=(TABLE, "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END")), "CREATE TRIGGER"),
        (script(ddl=(TABLE, "CREATE VIEW v AS SELECT 1")), "CREATE VIEW"),
        (script(ddl=("CREATE VIRTUAL TABLE v USING fts5(a)",)), "CREATE VIRTUAL"),
        (script(ddl=("CREATE TEMP TABLE v(a)",)), "CREATE TEMP"),
        (script(ddl=("CREATE TABLE temp.v(a)",)), "not authorized"),
        (script("DELETE FROM t"), "inserts statement 1 .DELETE"),
        (script("INSERT INTO t VALUES (1, 'x')", "UPDATE t SET a = 2"), "inserts statement 2 .UPDATE"),
        (script("INSERT INTO t VALUES (1, 'x'); DROP TABLE t"), "more than one statement"),
        (script("INSERT INTO t VALUES (random(), 'x')"), "random"),
        (script("INSERT INTO t VALUES (1, load_extension('x'))"), "load_extension"),
        (script("INSERT INTO sqlite_master VALUES (1,2,3,4,5)"), "sqlite_master"),
        (script("INSERT INTO absent VALUES (1)"), "absent"),
        (script("INSERT INTO t VALUES (1)"), "2 columns but 1 values"),
        (script("  "), "inserts statement 1 .blank. is empty"),
        (script(ddl=()), "creates no table"),
        (script("INSERT INTO t VALUES (1, '\ud800')"), "Unicode"),
    ],
)
def test_refused_statements_are_named(tmp_path: Path, builder: BuildProcess, bad: DatabaseScript, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        build_database(bad, tmp_path / "a.sqlite", builder)
    assert list(tmp_path.iterdir()) == []


def test_broken_foreign_key_names_the_table(tmp_path: Path, builder: BuildProcess) -> None:
    ddl = ("CREATE TABLE parent(id INTEGER PRIMARY KEY)", "CREATE TABLE child(p INT REFERENCES parent(id))")
    with pytest.raises(InvalidInputError, match=r"table child .* table parent"):
        build_database(script("INSERT INTO child VALUES (7)", ddl=ddl), tmp_path / "a.sqlite", builder)


SERIES = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c{limit}) SELECT x, 'x' FROM c"


@pytest.mark.parametrize(
    ("limits", "insert", "named"),
    [
        (replace(Limits(), build_rows=10), "INSERT INTO t " + SERIES.format(limit=" LIMIT 11"), "past 10 rows"),
        (replace(Limits(), build_file_bytes=100_000), "INSERT INTO t " + SERIES.format(limit=""), "100000 bytes"),
        (replace(Limits(), build_script_bytes=100), "INSERT INTO t VALUES (1, '" + "x" * 100 + "')", "at most 100"),
        (
            replace(Limits(), build_deadline_s=0.3),
            f"INSERT INTO t SELECT 1, count(*) FROM ({SERIES.format(limit='')})",
            "deadline",
        ),
    ],
)
def test_caps(tmp_path: Path, limits: Limits, insert: str, named: str) -> None:
    own = BuildProcess(limits)
    with pytest.raises(InvalidInputError, match=named):
        build_database(script(insert), tmp_path / "a.sqlite", own)
    own.close()
    assert list(tmp_path.iterdir()) == []


def test_card(tmp_path: Path, builder: BuildProcess) -> None:
    digest = build_database(SHOP, tmp_path / "a.sqlite", builder)
    card = make_card(tmp_path / "a.sqlite", digest, sample_rows=1)
    assert card.database_id == digest
    assert [table.name for table in card.tables] == ["town", "firm", "person"]
    town, firm, person = card.tables
    assert town.ddl == (
        "CREATE TABLE town( id INTEGER PRIMARY KEY, name TEXT NOT NULL, seen TEXT DEFAULT CURRENT_TIMESTAMP)"
    )
    assert [(c.name, c.type, c.primary_key, c.not_null) for c in town.columns] == [
        ("id", "INTEGER", True, False),
        ("name", "TEXT", False, True),
        ("seen", "TEXT", False, False),
    ]
    assert firm.columns[0].type == "TEXT"
    assert [(k.column, k.to_table, k.to_column) for k in firm.foreign_keys] == [
        ("town_id", "town", "id"),
        ("boss", "person", "id"),
    ]
    assert (firm.row_count, firm.sample_rows) == (2, [["a  b", 1, 1]])
    assert person.sample_rows == [[1, 10.5]]


def test_card_of_odd_names_blobs_and_broken_text(tmp_path: Path) -> None:
    path = tmp_path / "odd.sqlite"
    connection = sqlite3.connect(path)
    connection.execute('CREATE TABLE "a ""b" ("x  y" TEXT, [z] BLOB, g AS (length(z)))')
    connection.execute("""INSERT INTO "a ""b" VALUES (CAST(x'61ff' AS TEXT), x'00ff')""")
    connection.execute('CREATE VIEW v AS SELECT 1 FROM "a ""b"')
    connection.commit()
    connection.close()
    (table,) = make_card(path, "id").tables
    assert (table.name, [column.name for column in table.columns]) == ('a "b', ["x  y", "z", "g"])
    assert table.sample_rows == [["a\ufffd", "00ff", 2]]
    assert '"x  y"' in table.ddl


def test_card_of_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t(a TEXT, b BLOB, c TEXT); INSERT INTO t VALUES ('', x'', NULL)")
    connection.close()
    (table,) = make_card(path, "id").tables
    assert table.sample_rows == [["", "", None]]


def test_card_of_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(InvalidInputError, match=r"note\.txt"):
        make_card(tmp_path / "note.txt", "id")
    with pytest.raises(NotFoundError, match="absent"):
        make_card(tmp_path / "absent", "id")
