"""Files that people bring: taken, or refused with a sentence, whatever they are; nothing is left behind."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.sandbox.execution.pool import SandboxPool
from services.sandbox.intake.describe import read_comments
from services.sandbox.intake.upload import Intake, TooLargeError
from shared.catalog.databases import SchemaCard, TableCard, Upload, add_upload, find_upload, upload_keys
from shared.errors import CancelledError, InvalidInputError
from shared.storage.directory import DirectoryStore
from tests.support.sandbox import make_database

MOST = 5_000_000
# An expression that one opcode works on for hours: no progress handler ends it.
STALL = "instr(hex(zeroblob(20000000)), hex(zeroblob(9000000)) || '1')"
Take = Callable[[bytes], Upload]


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with closing(Intake(DirectoryStore(tmp_path / "objects"), tmp_path / "in", most=MOST, deadline_s=10.0)) as intake:
        yield intake
        assert [path.name for path in (tmp_path / "in").iterdir()] == [".lock"]


def take(intake: Intake, data: bytes, name: str = "") -> tuple[Upload, bool]:
    with intake.arrival() as arrival:
        for start in range(0, len(data), 1000):
            arrival.add(data[start : start + 1000])
        return intake.take(arrival, name)


def test_a_sound_file_is_stored_by_its_content(intake: Intake, tmp_path: Path) -> None:
    data = make_database(tmp_path / "shop.sqlite")
    upload, new = take(intake, data, "shop")
    assert new
    assert (upload.name, upload.size, upload.tables, upload.views, upload.triggers) == ("shop", len(data), 2, 1, 1)
    assert upload.warnings == []
    assert intake.objects.get(f"databases/{upload.id}.sqlite") == data
    before = list(intake.objects.list(""))
    assert take(intake, data, "another name") == (upload, False)
    assert list(intake.objects.list("")) == before
    assert find_upload(intake.objects, upload.id) == upload


def test_the_card_says_what_a_reader_wants_to_know(intake: Intake, tmp_path: Path) -> None:
    data = make_database(tmp_path / "shop.sqlite")
    upload, _ = take(intake, data)
    card = SchemaCard.model_validate_json(intake.objects.get(f"databases/{upload.id}.json"))
    customer, orders = card.tables
    assert card.size == len(data)
    assert customer.comment == "who buys"
    assert [column.comment for column in customer.columns] == ["never reused", None, "where they live"]
    assert [column.samples for column in customer.columns] == [[1, 2, 3], ["Ada", "Bob", "Cyd"], ["Paris", "Oslo"]]
    assert (customer.row_count, orders.foreign_keys[0].to_table) == (3, "customer")
    assert "--" not in customer.ddl and "/*" not in customer.ddl


def test_cards_of_before_still_load() -> None:
    old = '{"name":"t","ddl":"CREATE TABLE t(a)","columns":[{"name":"a","type":""}],"row_count":0}'
    table = TableCard.model_validate_json(old)
    assert (table.comment, table.columns[0].comment, table.columns[0].samples) == (None, None, [])
    assert SchemaCard.model_validate_json(f'{{"database_id":"x","tables":[{old}]}}').size is None


def test_long_cells_and_values_beyond_the_limit_do_not_stop_a_card(intake: Intake, tmp_path: Path) -> None:
    script = (
        "CREATE TABLE t(a, b); INSERT INTO t VALUES (printf('%.*c', 5000, 'é'), zeroblob(1500000)), (NULL, x'00ff')"
    )
    upload, _ = take(intake, make_database(tmp_path / "long.sqlite", script))
    table = SchemaCard.model_validate_json(intake.objects.get(f"databases/{upload.id}.json")).tables[0]
    assert table.sample_rows == [["é" * 199 + "…", "…"], [None, "00ff"]]
    assert [column.samples for column in table.columns] == [["é" * 59 + "…"], ["00ff"]]


def damaged(path: Path) -> bytes:
    data = bytearray(make_database(path, "CREATE TABLE t(a); CREATE INDEX i ON t(a);" + rows(3000)))
    data[4096 * 3 : 4096 * 4] = os.urandom(4096)
    return bytes(data)


def rows(count: int) -> str:
    return (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
        "INSERT INTO t SELECT 'row ' || i FROM n;"
    )


def truncated(path: Path) -> bytes:
    data = make_database(path, "CREATE TABLE t(a);" + rows(3000))
    return data[: len(data) // 2]


def inconsistent(path: Path) -> bytes:
    """An index that lacks a row of its table: every page is sound, and answers differ by the plan."""
    make_database(path, "CREATE TABLE t(a); CREATE INDEX i ON t(a); INSERT INTO t VALUES (1), (2);")
    script = (
        "PRAGMA writable_schema=1; UPDATE sqlite_master SET name='x', tbl_name='x', type='table', "
        "sql='CREATE TABLE x(a, b)' WHERE name='i';"
    )
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path.read_bytes()


REFUSED: list[tuple[Callable[[Path], bytes], str]] = [
    (lambda _: b"", "the body is empty"),
    (lambda _: b"SQLite", "is not a SQLite database, or it is encrypted"),
    (lambda _: b"a text file\n" * 100, "is not a SQLite database, or it is encrypted"),
    (lambda _: os.urandom(8192), "is not a SQLite database, or it is encrypted"),
    (lambda _: b"SQLite format 3\0", "is damaged, encrypted or no SQLite database"),
    (lambda _: b"SQLite format 3\0" + os.urandom(8176), "is damaged, encrypted or no SQLite database"),
    (lambda _: b"SQLite format 3\0" + bytes(8176), "is damaged, encrypted or no SQLite database"),
    (damaged, "is damaged"),
    (truncated, "is cut short: "),
    (inconsistent, "is damaged"),
    (lambda path: make_database(path, "CREATE VIEW v AS SELECT 1;"), "holds no ordinary table"),
    (lambda path: make_database(path, "CREATE TABLE t(a); DROP TABLE t;"), "holds no ordinary table"),
    (
        lambda path: make_database(path, "BEGIN;" + "".join(f"CREATE TABLE t{n}(a);" for n in range(1001)) + "COMMIT;"),
        "at most 1000 tables",
    ),
]


@pytest.mark.parametrize(("make", "sentence"), REFUSED)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    intake: Intake, tmp_path: Path, make: Callable[[Path], bytes], sentence: str
) -> None:
    with pytest.raises(InvalidInputError, match=sentence) as refused:
        take(intake, make(tmp_path / "x.sqlite"))
    assert refused.value.code == "invalid_database"
    assert str(tmp_path) not in refused.value.message
    assert list(intake.objects.list("")) == []


def test_the_limit_holds_while_bytes_arrive(intake: Intake) -> None:
    with pytest.raises(TooLargeError, match="SENSE_SANDBOX_MAX_UPLOAD_BYTES"), intake.arrival() as arrival:
        arrival.add(b"SQLite format 3\0")
        for _ in range(6):
            arrival.add(bytes(1_000_000))
    assert arrival.size > MOST >= arrival.size - 1_000_000


def test_odd_but_sound_files_are_taken_with_warnings(intake: Intake, tmp_path: Path) -> None:
    wal = make_database(
        tmp_path / "wal.sqlite", "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (7);"
    )
    assert wal[18:20] == b"\x02\x02"
    upload, _ = take(intake, wal)
    assert "WAL mode" in upload.warnings[0]
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "wal.sqlite"
    copy.write_bytes(wal)
    with SandboxPool(children=1) as pool:
        assert pool.execute(copy, "SELECT a FROM t").rows == [[7]]
    assert list(copy.parent.iterdir()) == [copy]
    script = (
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(x REFERENCES p(id), y); INSERT INTO c VALUES (5, NULL);"
        "PRAGMA writable_schema=1; UPDATE sqlite_master SET sql = replace(sql, 'y)', 'y NOT NULL)') WHERE name = 'c';"
    )
    upload, _ = take(intake, make_database(tmp_path / "odd.sqlite", script))
    assert len(upload.warnings) == 2
    assert "NULL value in c.y" in upload.warnings[0]
    assert "refers to no row: c (1)" in upload.warnings[1]


def test_a_file_that_stalls_its_reader_ends_with_its_child(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE t(a, b AS (1)); INSERT INTO t VALUES (1); PRAGMA writable_schema=1;"
        f"UPDATE sqlite_master SET sql = replace(sql, 'AS (1)', 'NOT NULL AS ({STALL.replace(chr(39), chr(39) * 2)})');"
    )
    data = make_database(tmp_path / "stall.sqlite", script)
    objects = DirectoryStore(tmp_path / "objects")
    with closing(Intake(objects, tmp_path / "in", most=MOST, deadline_s=0.5)) as intake:
        began = time.monotonic()
        with pytest.raises(InvalidInputError, match=r"could not be checked within 0\.5 s"):
            take(intake, data)
        assert time.monotonic() - began < 30
        assert intake._children == set()
    assert list(objects.list("")) == []


def test_a_killed_intake_takes_nothing_more(intake: Intake, tmp_path: Path) -> None:
    intake.kill()
    with pytest.raises(CancelledError):
        take(intake, make_database(tmp_path / "shop.sqlite"))
    assert list(intake.objects.list("")) == []


def test_a_new_intake_sweeps_what_a_killed_one_received(tmp_path: Path) -> None:
    objects, folder = DirectoryStore(tmp_path / "objects"), tmp_path / "in"
    with closing(Intake(objects, folder, most=MOST, deadline_s=1.0)) as first, first.arrival() as arrival:
        (folder / "dead.part").write_bytes(b"SQLite")
        with closing(Intake(objects, folder, most=MOST, deadline_s=1.0)):
            assert sorted(path.name for path in folder.iterdir()) == [".lock", arrival.path.name]


def test_records_come_in_the_order_of_arrival_once_each(tmp_path: Path) -> None:
    objects = DirectoryStore(tmp_path)
    made = [Upload(id=f"{n:064x}", name="n", size=1, created_at=1e9 + n, tables=1) for n in (3, 1, 2)]
    for upload in made:
        add_upload(objects, upload)
    assert list(upload_keys(objects)) == [f"{n:064x}" for n in (1, 2, 3)]
    again = made[0].model_copy(update={"created_at": 5.0, "name": "other"})
    assert add_upload(objects, again) == made[0]


@pytest.mark.parametrize(
    ("sql", "table", "columns"),
    [
        ("CREATE TABLE t(a, b)", None, {}),
        ("CREATE TABLE t -- x\n(a -- one\n, b, -- two\n\n/* of\n c */ c)", "x", {"a": "one", "b": "two", "c": "of c"}),
        (
            "CREATE TABLE t(`a b` TEXT DEFAULT ('-- no', 1) -- y\n, FOREIGN KEY (z) REFERENCES t(z) -- n\n)",
            None,
            {"a b": "y"},
        ),
        ("CREATE TABLE t(a, -- \n b -- ***\n)", None, {}),
        ("CREATE TABLE t(", None, {}),
        ("CREATE TABLE t AS SELECT 1 /*", None, {}),
        ("CREATE TABLE t(a --" + "x" * 999 + "\n)", None, {"a": "x" * 199 + "…"}),
    ],
)
def test_comments_belong_to_what_they_stand_beside(sql: str, table: str | None, columns: dict[str, str]) -> None:
    assert read_comments(sql) == (table, columns)
