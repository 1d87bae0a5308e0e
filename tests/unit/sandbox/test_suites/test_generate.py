"""Files of suite_databases: same bytes for the same input, sealed, whole, and refused with a clear word."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from services.sandbox.execution.limits import Limits
from services.sandbox.test_suites.generate import generate_suite
from services.sandbox.test_suites.schema import SuiteLimits
from shared.errors import InvalidInputError, NotFoundError
from tests.unit.sandbox.test_suites.conftest import read


def content(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_same_input_same_bytes_and_a_prefix(school: Path, tmp_path: Path) -> None:
    first = content(generate_suite(school, tmp_path / "a", count=4, seed=3, constants=["Oslo", 170, 170, 2.5]))
    again = content(generate_suite(school, tmp_path / "b", count=2, seed=3, constants=[2.5, 170, "Oslo"]))
    assert again == first[:2]
    assert len(set(first)) == 4
    assert content(generate_suite(school, tmp_path / "c", count=2, seed=4, constants=["Oslo", 170, 2.5])) != again
    assert content(generate_suite(school, tmp_path / "d", count=2, seed=3)) != again


def test_files_are_sealed_and_nothing_else_is_left(school: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    made = generate_suite(school, folder, count=3, seed=1)
    assert made == [folder / f"{n}.sqlite" for n in range(3)]
    assert sorted(folder.iterdir()) == made
    assert {path.stat().st_mode & 0o777 for path in made} == {0o444}


def test_rows_differ_in_content_and_number(school: Path, tmp_path: Path) -> None:
    made = generate_suite(school, tmp_path / "n", count=8, seed=1)
    sizes = {read(path, "SELECT count(*) FROM student")[0][0] for path in made}
    assert len(sizes) > 2
    heights = {tuple(read(path, "SELECT id, height FROM student ORDER BY id")) for path in [school, *made]}
    assert len(heights) == 9


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"no database at all, just text", "not a SQLite database"),
        (b"SQLite format 3\x00" + b"\xff" * 4000, "file is not a database"),
    ],
)
def test_what_is_no_database_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "bad.sqlite"
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match=rf"bad.sqlite.*{said}"):
        generate_suite(path, tmp_path / "n", count=1, seed=1)
    with pytest.raises(NotFoundError, match="absent"):
        generate_suite(tmp_path / "absent.sqlite", tmp_path / "n", count=1, seed=1)


def test_a_damaged_page_is_refused_and_leaves_nothing(school: Path, tmp_path: Path) -> None:
    data = bytearray(school.read_bytes())
    data[4096 : 4096 + 64] = b"\xff" * 64
    school.write_bytes(bytes(data))
    with pytest.raises(InvalidInputError, match=r"school.sqlite: .*malformed.*Repair"):
        generate_suite(school, tmp_path / "n", count=2, seed=1)
    assert list((tmp_path / "n").iterdir()) == []


def write(path: Path, script: str) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


def test_caps_and_deadline_are_named(school: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="4 tables, and at most 3"):
        generate_suite(school, tmp_path / "n", count=1, seed=1, caps=SuiteLimits(tables=3))
    with pytest.raises(InvalidInputError, match="columns, and at most 5"):
        generate_suite(school, tmp_path / "n", count=1, seed=1, caps=SuiteLimits(columns=5))
    with pytest.raises(InvalidInputError, match="ask for 1 to"):
        generate_suite(school, tmp_path / "n", count=0, seed=1)
    view = write(tmp_path / "v.sqlite", "CREATE VIEW v AS SELECT 1")
    with pytest.raises(InvalidInputError, match="no ordinary table"):
        generate_suite(view, tmp_path / "n", count=1, seed=1)
    with pytest.raises(InvalidInputError, match="deadline"):
        generate_suite(school, tmp_path / "n", count=9, seed=1, limits=replace(Limits(), build_deadline_s=1e-6))


def test_a_schema_entry_that_does_something_else_is_refused(school: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(school)
    connection.execute("PRAGMA writable_schema=1")
    connection.execute("UPDATE sqlite_master SET sql = sql || '; DROP TABLE teacher' WHERE name = 'student'")
    connection.commit()
    connection.close()
    with pytest.raises(InvalidInputError, match=r"school.sqlite"):
        generate_suite(school, tmp_path / "n", count=1, seed=1)


def test_constants_that_sqlite_cannot_hold_are_passed_over(school: Path, tmp_path: Path) -> None:
    odd = [2**70, float("nan"), float("inf"), "\ud800", "a\x00b", "", "x" * 10_000, True]
    made = generate_suite(school, tmp_path / "a", count=2, seed=1, constants=odd)
    assert content(made) == content(generate_suite(school, tmp_path / "b", count=2, seed=1, constants=[1]))


def test_a_large_database_is_sampled_with_its_foreign_keys(tmp_path: Path) -> None:
    big = write(
        tmp_path / "big.sqlite",
        "CREATE TABLE a(id INTEGER PRIMARY KEY, name TEXT, up INT REFERENCES a(id));"
        "CREATE TABLE w(x TEXT, y INT, PRIMARY KEY (x, y)) WITHOUT ROWID;"
        "CREATE TABLE b(a_id INT NOT NULL REFERENCES a(id), x TEXT, y INT, FOREIGN KEY (x, y) REFERENCES w(x, y));"
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " INSERT INTO a SELECT i, 'n' || i, i / 2 + 1 FROM n;"
        "INSERT INTO w SELECT 'k' || id, id FROM a; INSERT INTO b SELECT id, 'k' || id, id FROM a;",
    )
    for path in generate_suite(big, tmp_path / "n", count=4, seed=1, caps=SuiteLimits(table_rows=300)):
        assert read(path, "PRAGMA foreign_key_check") == []
        for table in ("a", "b", "w"):
            assert 20 < read(path, f"SELECT count(*) FROM {table}")[0][0] <= 300
        assert read(path, "SELECT count(DISTINCT a_id) > 10 FROM b") == [(1,)]
