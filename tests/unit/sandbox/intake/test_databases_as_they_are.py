"""Databases as people have them: a part that SQLite here cannot read never costs the rest."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from services.sandbox.building.databases import make_card
from services.sandbox.execution.database_files import check_database_file
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.intake.upload import Intake
from services.sandbox.judging.judge import GoldCache, Judge, JudgeQuestion
from shared.contracts.records import Dependence, Outcome, Policy, Verdict
from shared.errors import InvalidInputError
from shared.sql.prompt import render_schema
from shared.storage.directory import DirectoryStore
from tests.unit.sandbox.conftest import make_shop


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(children=1, limits=Limits(deadline_s=10, gold_deadline_s=20)) as pool:
        yield pool


def database(path: Path, script: str, *functions: str, collations: tuple[str, ...] = ()) -> Path:
    """A file whose program had functions and collations of its own."""
    connection = sqlite3.connect(path, isolation_level=None)
    for name in functions:
        connection.create_function(name, 1, lambda text: text and str(text)[::-1], deterministic=True)
    for name in collations:
        connection.create_collation(name, lambda one, other: (one > other) - (one < other))
    connection.executescript(script)
    connection.close()
    return path


CHANNELS = """
CREATE TABLE channel(id INTEGER PRIMARY KEY, name TEXT COLLATE LOCALIZED, favourite INTEGER, UNIQUE(name));
CREATE TABLE "odd"(a TEXT COLLATE "my own", b TEXT, PRIMARY KEY(a)) WITHOUT ROWID;
INSERT INTO channel VALUES (1,'One',1),(2,'Two',0),(3,'Three',0);
INSERT INTO odd VALUES ('x', 'y');
"""


@pytest.fixture
def channels(tmp_path: Path) -> Path:
    return database(tmp_path / "android.sqlite", CHANNELS, collations=("LOCALIZED", "my own"))


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) FROM channel", [[3]]),
        ("SELECT favourite, count(*) FROM channel GROUP BY favourite", [[0, 2], [1, 1]]),
        ("SELECT name FROM channel WHERE id = 2", [["Two"]]),
        ("SELECT name FROM channel ORDER BY name", [["One"], ["Three"], ["Two"]]),  # the index has its program's order
        ("SELECT b FROM odd", [["y"]]),
        ("SELECT name FROM channel WHERE name LIKE 'T%' ORDER BY id", [["Two"], ["Three"]]),
    ],
)
def test_what_needs_no_foreign_collation_runs(pool: SandboxPool, channels: Path, sql: str, rows: object) -> None:
    assert pool.execute(channels, sql).rows == rows


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM channel WHERE name = 'One'",
        "SELECT DISTINCT name FROM channel",
        "SELECT b FROM odd WHERE a = 'x'",
        "SELECT id FROM channel ORDER BY name DESC, id",
        "SELECT id FROM channel ORDER BY favourite COLLATE unheard",
    ],
)
def test_no_order_is_made_up_for_one(pool: SandboxPool, channels: Path, sql: str) -> None:
    ran = pool.execute(channels, sql)
    assert ran.outcome is Outcome.TYPE_OR_FUNCTION_ERROR
    assert "no such collation sequence" in (ran.message or "")


def test_such_a_database_can_be_described_judged_and_taken(pool: SandboxPool, channels: Path, tmp_path: Path) -> None:
    card = make_card(channels, "x", pool=pool)
    assert [(one.name, one.row_count) for one in card.tables] == [("channel", 3), ("odd", 1)]
    assert [name for name in ("LOCALIZED", "'my own'") if not any(name in said for said in card.warnings)] == []
    sql = "SELECT count(*) FROM channel"
    (judged,) = Judge(pool, Policy.SPIDER).judge(channels, sql, [sql])
    assert (judged.verdict, judged.depends_on) == (Verdict.CORRECT, (Dependence.COLLATION,))
    with (
        closing(Intake(DirectoryStore(tmp_path / "store"), tmp_path / "in", most=10**8, deadline_s=20)) as intake,
        intake.arrival() as arrival,
    ):
        arrival.add(channels.read_bytes())
        upload, _ = intake.take(arrival, "android")
    assert (upload.tables, any("LOCALIZED" in said for said in upload.warnings)) == (2, True)


ODD = {
    "a function in an index": (
        "CREATE TABLE t(a, b); INSERT INTO t VALUES ('x', 1); CREATE INDEX i ON t(own(a));",
        {"t"},
    ),
    "a function in a generated column": (
        "CREATE TABLE t(a, b AS (own(a)), c AS (own(a)) STORED); INSERT INTO t(a) VALUES ('xy'); CREATE TABLE u(z);",
        {"t", "u"},
    ),
    "a function in a check": ("CREATE TABLE t(a CHECK (own(a) <> 'q')); INSERT INTO t VALUES ('x');", {"t"}),
    "a virtual table without its module": (
        "CREATE TABLE t(a); PRAGMA writable_schema=1; INSERT INTO sqlite_master VALUES "
        "('table', 'geo', 'geo', 0, 'CREATE VIRTUAL TABLE geo USING spatialindex(a)');",
        {"t"},
    ),
    "names": (
        'CREATE TABLE "a ""b\nc"("select", "", "é"); CREATE TABLE ""(a); CREATE TABLE "order"(x);',
        {'a "b\nc', "", "order"},
    ),
    "1,500 columns": (
        f"CREATE TABLE t({', '.join(f'c{n}' for n in range(1500))}); INSERT INTO t(c1) VALUES (7);",
        {"t"},
    ),
    "strict, without rowid": (
        "CREATE TABLE s(a INT PRIMARY KEY) STRICT, WITHOUT ROWID; CREATE TABLE t(a);",
        {"s", "t"},
    ),
    "utf-16": ("PRAGMA encoding='UTF-16'; CREATE TABLE t(a); INSERT INTO t VALUES ('ä');", {"t"}),
    "text that is not utf-8": ("CREATE TABLE t(a); INSERT INTO t VALUES (CAST(x'61ff' AS TEXT));", {"t"}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_databases_are_described_and_taken(pool: SandboxPool, tmp_path: Path, name: str) -> None:
    script, tables = ODD[name]
    path = database(tmp_path / "odd.sqlite", script, "own")
    card = make_card(path, "x", pool=pool)
    assert {one.name for one in card.tables} == tables
    assert render_schema(card)
    with (
        closing(Intake(DirectoryStore(tmp_path / "store"), tmp_path / "in", most=10**8, deadline_s=20)) as intake,
        intake.arrival() as arrival,
    ):
        arrival.add(path.read_bytes())
        assert intake.take(arrival, "odd")[1]


def test_what_is_left_out_is_named(pool: SandboxPool, tmp_path: Path) -> None:
    script, _ = ODD["a function in a generated column"]
    card = make_card(database(tmp_path / "g.sqlite", script, "own"), "x", pool=pool)
    assert card.tables[0].sample_rows == [["xy", None, "yx"]]
    assert card.warnings == ["column b of t cannot be read (unknown function: own())"]
    script, _ = ODD["a virtual table without its module"]
    card = make_card(database(tmp_path / "v.sqlite", script), "x", pool=pool)
    assert card.warnings == ["virtual table geo cannot be read and is left out (no such module: spatialindex)"]


VIEWS = """
CREATE TABLE emp(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE gone(x);
INSERT INTO emp VALUES (1,'Ana'),(2,'Bo');
CREATE VIEW broken AS SELECT emp.id, gone.x FROM emp JOIN gone ON gone.x = emp.id;
CREATE VIEW good(who) AS SELECT name FROM emp;
CREATE VIEW upon AS SELECT who FROM good WHERE who > 'B';
CREATE VIEW strange AS SELECT own(name) FROM emp;
CREATE VIEW today AS SELECT date('now') AS d, name FROM emp;
CREATE VIEW endless AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) AS m FROM c;
PRAGMA legacy_alter_table=1; DROP TABLE gone;
"""


def test_views_that_can_be_read_are_shown_and_others_named(pool: SandboxPool, tmp_path: Path) -> None:
    path = database(tmp_path / "views.sqlite", VIEWS, "own")
    card = make_card(path, "x", pool=pool)
    rows = {one.name: one.sample_rows for one in card.views}
    assert rows == {"good": [["Ana"], ["Bo"]], "upon": [["Bo"]], "today": [], "endless": []}
    named = " ".join(card.warnings)
    assert [name for name in ("view broken", "view strange", "view endless") if name not in named] == []
    assert "main.gone" in named
    text = render_schema(card)
    assert (
        "CREATE VIEW good(who) AS SELECT name FROM emp;\n/* view with columns: who */\n/* first rows:\nwho\nAna" in text
    )
    assert make_card(path, "x", pool=pool) == card  # bounded by steps, whatever the machine does


def test_without_views_card_and_prompt_are_as_they_were(pool: SandboxPool, tmp_path: Path) -> None:
    card = make_card(make_shop(tmp_path / "shop.sqlite"), "x", pool=pool)
    assert set(card.model_dump()) == {"database_id", "tables", "size"}
    assert "view" not in render_schema(card).lower()


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "docs.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE docs(id INTEGER PRIMARY KEY, body TEXT, scan BLOB)")
    values = ("word " * 300_000, b"\0" * 1_500_000)
    connection.execute("INSERT INTO docs VALUES (1, ?, NULL), (2, 'a short word', ?)", values)
    connection.close()
    return path


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT id, substr(body, 1, 5) FROM docs", [[1, "word "], [2, "a sho"]]),
        ("SELECT length(body), length(scan) FROM docs", [[1_500_000, None], [12, 1_500_000]]),
        ("SELECT count(*) FROM docs WHERE body LIKE '%short%'", [[1]]),
        ("SELECT count(DISTINCT upper(body)) FROM docs", [[2]]),
        ("SELECT id FROM docs ORDER BY body DESC", [[1], [2]]),
    ],
)
def test_a_bound_on_results_is_none_on_what_is_stored(
    pool: SandboxPool, documents: Path, sql: str, rows: object
) -> None:
    ran = pool.execute(documents, sql)
    assert (ran.outcome, ran.rows) == (Outcome.OK, rows), ran.message


def test_large_cells_reach_results_and_bombs_still_end(pool: SandboxPool, documents: Path) -> None:
    ran = pool.execute(documents, "SELECT body FROM docs")
    assert (ran.outcome, ran.row_count, ran.truncated) == (Outcome.OK, 2, True)
    for bomb in ("SELECT hex(hex(hex(body))) FROM docs", "SELECT zeroblob(1000000000)"):
        ran = pool.execute(documents, bomb)
        assert (ran.outcome, ran.sandbox_limited) == (Outcome.BYTE_LIMIT, True)
    assert pool.execute(documents, "SELECT 1").rows == [[1]]


ASKING = [
    "SELECT datetime('now', 'subsec')",
    "SELECT date()",
    "SELECT CURRENT_TIMESTAMP",
    "SELECT julianday('now') - id FROM customer",
    "SELECT strftime('%s')",
    "SELECT unixepoch(lower('NOW'))",
    "SELECT id FROM customer WHERE date('now') > '2000-01-01'",
    "SELECT timediff('now', '2000-01-01')",
    "WITH t(d) AS (SELECT 'no' || 'w') SELECT time(d) FROM t",
]


@pytest.mark.parametrize("sql", ASKING)
def test_whoever_asks_for_the_time_is_noticed(pool: SandboxPool, tmp_path: Path, sql: str) -> None:
    assert pool.execute(make_shop(tmp_path / "shop.sqlite"), sql).clock


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT date('2024-01-01', '+1 day')",
        "SELECT strftime('%Y', city) FROM customer",
        "SELECT 'now', name FROM customer",
    ],
)
def test_date_functions_of_stored_dates_ask_nobody(pool: SandboxPool, tmp_path: Path, sql: str) -> None:
    assert not pool.execute(make_shop(tmp_path / "shop.sqlite"), sql).clock


@pytest.mark.parametrize("policy", [Policy.STRICT, Policy.SPIDER, Policy.BIRD])
@pytest.mark.parametrize("sql", ASKING)
def test_a_gold_that_asks_is_judged_by_one_moment_each_time(
    pool: SandboxPool, tmp_path: Path, policy: Policy, sql: str
) -> None:
    """Later jobs read the gold's result from disk: a gold must not be held against another moment."""
    shop, file = make_shop(tmp_path / "shop.sqlite"), tmp_path / "golds.sqlite"
    for answers in ((sql,), (sql, f"{sql} ")):  # together with the gold, and in two steps
        for _ in range(2):
            judge = Judge(pool, policy, golds=GoldCache(file))
            (judged,) = judge.judge_many([JudgeQuestion(shop, sql, answers)])
            assert {one.verdict for one in judged} == {Verdict.CORRECT}
            assert {one.depends_on for one in judged} == {(Dependence.CLOCK,)}
            time.sleep(0.02)


def test_a_link_to_a_database_with_dates(pool: SandboxPool, tmp_path: Path) -> None:
    link = tmp_path / "link.sqlite"
    link.symlink_to(make_shop(tmp_path / "shop.sqlite"))
    assert pool.execute(link, "SELECT date('now') > '2000'").rows == [[1]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT zeroblob(2000000)",
        "SELECT 1" + " UNION ALL SELECT 1" * 60,
        "SELECT " + "+".join(["1"] * 300),
        f"SELECT name LIKE '{'a' * 300}' FROM customer",
        "SELECT '" + "x" * 250_000 + "'",
        "SELECT name FROM customer ORDER BY random()",
        "SELECT a.id FROM customer a, customer b, customer c, customer d",
    ],
)
def test_what_our_wall_stops_is_undecided(tmp_path: Path, sql: str) -> None:
    """Stock SQLite runs each of them: the answer is not wrong, it was not seen to its end."""
    shop = make_shop(tmp_path / "shop.sqlite")
    assert sqlite3.connect(shop).execute(sql).fetchall()
    with SandboxPool(1, replace(Limits(), max_rows=100)) as pool:
        (judged,) = Judge(pool, Policy.BIRD).judge(shop, "SELECT 1", [sql])
        assert (judged.verdict, judged.depends_on) == (Verdict.DISPUTED, (Dependence.OUR_LIMITS,))
        (judged,) = Judge(pool, Policy.BIRD).judge(shop, sql, ["SELECT 1"])
        assert (judged.verdict, judged.depends_on) == (Verdict.DISPUTED, (Dependence.OUR_LIMITS,))


@pytest.mark.parametrize("sql", ["SELECT nam FROM customer", "SELEC 1", "DELETE FROM customer", "SELECT abs()"])
def test_mistakes_are_the_models_own(pool: SandboxPool, tmp_path: Path, sql: str) -> None:
    (judged,) = Judge(pool).judge(make_shop(tmp_path / "shop.sqlite"), "SELECT 1", [sql])
    assert (judged.verdict, judged.depends_on) == (Verdict.ERROR, ())


def test_a_file_cut_short_is_told_before_it_is_read(tmp_path: Path, documents: Path) -> None:
    path = tmp_path / "cut.sqlite"
    path.write_bytes(documents.read_bytes()[:600_000])
    with pytest.raises(InvalidInputError, match=r"cut short: 600000 of its \d+ bytes"):
        check_database_file(path)


def test_what_dead_programs_leave_beside_a_file(tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "shop.sqlite")
    for suffix, content in (
        ("-journal", bytes(512)),
        ("-wal", b""),
        ("-wal", b"\x37\x7f\x06\x82" + bytes(28)),
        ("-shm", b"x"),
    ):
        beside = tmp_path / f"shop.sqlite{suffix}"
        beside.write_bytes(content)  # a finished journal of mode PERSIST, a log without pages
        assert check_database_file(shop)
        beside.unlink()


@pytest.mark.parametrize("settled", [True, False])
def test_a_log_is_refused_only_where_the_file_lacks_what_it_holds(
    pool: SandboxPool, tmp_path: Path, settled: bool
) -> None:
    shop = make_shop(tmp_path / "shop.sqlite")
    writer = sqlite3.connect(shop, isolation_level=None)
    writer.executescript("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;")
    writer.execute("INSERT INTO customer VALUES (9, 'Eve', 'Rome')")
    if settled:
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # copies pages and leaves the log as it is
    folder = tmp_path / "after"
    folder.mkdir()
    for name in ("shop.sqlite", "shop.sqlite-wal", "shop.sqlite-shm"):  # as after a kill
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    writer.close()
    assert (folder / "shop.sqlite-wal").stat().st_size > 4096
    if settled:
        assert pool.execute(folder / "shop.sqlite", "SELECT count(*) FROM customer").rows == [[5]]
        return
    with pytest.raises(InvalidInputError, match=r"unfinished writes in shop.sqlite-wal.*wal_checkpoint"):
        check_database_file(folder / "shop.sqlite")


def test_a_tolerant_pool_goes_on_past_a_damaged_file(tmp_path: Path, documents: Path) -> None:
    shop, bad = make_shop(tmp_path / "shop.sqlite"), tmp_path / "bad.sqlite"
    data = bytearray(documents.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    bad.write_bytes(bytes(data))
    with SandboxPool(1, tolerant=True) as pool:
        ran = [
            pool.execute(
                path, "SELECT count(*) FROM sqlite_master, (SELECT * FROM docs)" if path == bad else "SELECT 1"
            )
            for path in (bad, shop)
        ]
        assert [one.outcome for one in ran] == [Outcome.KILLED, Outcome.OK]
        assert list(pool.damaged) == [bad]
