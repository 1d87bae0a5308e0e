"""`sense execute` with input that cannot be used: exit status 2, one sentence that names it, nothing on stdout."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Sense


def damaged(path: Path) -> None:
    """A database whose second page is gone."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t(a)")
    database.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 100)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda path: None, "no database file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("no database at all"), "not a SQLite database"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "pipe": (os.mkfifo, "is a named pipe"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "damaged": (damaged, "damaged"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_database(sense: Sense, tmp_path: Path, name: str) -> None:
    make, said = FILES[name]
    make(tmp_path / name)
    ended = sense("execute", "--db", tmp_path / name, "--sql", "SELECT * FROM t")
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.split())
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("deadline", ["0", "-1", "nan", "inf", "soon"])
def test_bad_deadline(sense: Sense, singers: Path, deadline: str) -> None:
    ended = sense("execute", "--db", singers, "--sql", "SELECT 1", "--deadline", deadline)
    assert (ended.code, ended.out) == (2, "")
    assert "deadline" in ended.err


def test_bad_text_is_an_outcome(sense: Sense, singers: Path, tmp_path: Path) -> None:
    for content in (b"SELECT 1\x00", b"SELECT '" + b"x" * 10_000_000):
        (tmp_path / "q.sql").write_bytes(content)
        ended = sense("execute", "--db", singers, "--file", tmp_path / "q.sql")
        assert ended.code == 1
        assert '"outcome"' in ended.out


def test_a_file_that_is_no_text(sense: Sense, singers: Path, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_bytes(b"SELECT '\xff'")
    ended = sense("execute", "--db", singers, "--file", tmp_path / "q.sql")
    assert (ended.code, ended.out) == (2, "")
    assert "q.sql" in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
