"""Input that is no database, no SQL or no budget: refused with a sentence that names the thing and the remedy."""

import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.sandbox.execution.database_files import check_database_file, read_header
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from shared.contracts.records import Outcome
from shared.errors import InvalidInputError, NotFoundError
from tests.unit.sandbox.conftest import make_shop

ROOT = Path(__file__).resolve().parents[4]


def in_write_ahead_mode(path: Path) -> None:
    """A copy of a database whose last writes wait in a log beside it."""
    live = path.with_name("live.sqlite")
    connection = sqlite3.connect(make_shop(live))
    connection.executescript("PRAGMA journal_mode=WAL; DELETE FROM orders")
    shutil.copy(live, path)
    shutil.copy(f"{live}-wal", f"{path}-wal")
    connection.close()


def link_in_a_circle(path: Path) -> None:
    path.symlink_to(path)


def socket_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def larger_than_read(path: Path) -> None:
    """Five gigabytes that take no room."""
    make_shop(path)
    os.truncate(path, 5 * 1024**3)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty; give a SQLite file with tables"),
    "text": (lambda path: path.write_text("hello, this is text"), "not a SQLite database.*; give"),
    "encrypted": (lambda path: path.write_bytes(bytes(range(256)) * 64), "or it is encrypted; give"),
    "short": (lambda path: path.write_bytes(b"SQLite"), "not a SQLite database"),
    "directory": (lambda path: path.mkdir(), "is a directory; give a SQLite file"),
    "pipe": (os.mkfifo, "is a named pipe; give a SQLite file"),
    "socket": (socket_file, "is a socket; give a SQLite file"),
    "link-to-device": (lambda path: path.symlink_to("/dev/zero"), "is a device; give a SQLite file"),
    "circle": (link_in_a_circle, "cannot be read .*symbolic links.*; give a SQLite file"),
    "huge": (larger_than_read, "has 5368709120 bytes; at most 4294967296"),
    "log-beside": (in_write_ahead_mode, "unfinished writes in log-beside-wal; close the program"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_database_is_named(pool: SandboxPool, shop: Path, tmp_path: Path, name: str) -> None:
    make, sentence = BAD[name]
    make(tmp_path / name)
    with pytest.raises(InvalidInputError, match=sentence) as refused:
        pool.execute(tmp_path / name, "SELECT 1")
    assert refused.value.code == "invalid_input"
    assert str(tmp_path / name) in refused.value.message
    assert pool.execute(shop, "SELECT count(*) FROM customer").rows == [[4]]


def test_a_missing_file_and_a_link_to_nothing(pool: SandboxPool, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for path in (tmp_path / "absent", tmp_path / "link", tmp_path / "no" / "such" / "folder"):
        with pytest.raises(NotFoundError, match=f"no database file at {path}; check the path") as refused:
            pool.execute(path, "SELECT 1")
        assert refused.value.code == "not_found"
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(("name", "sentence"), [("a\x00b", "NUL character"), ("n" * 300, "cannot be read .*too long")])
def test_paths_that_no_system_takes(pool: SandboxPool, tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        pool.execute(tmp_path / name, "SELECT 1")


def test_a_file_below_a_file(pool: SandboxPool, shop: Path) -> None:
    with pytest.raises(InvalidInputError, match="Not a directory"):
        pool.execute(shop / "below", "SELECT 1")


READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from services.sandbox.execution.database_files import check_database_file
from shared.errors import InvalidInputError
if os.geteuid() == 0:
    os.setegid(65534), os.seteuid(65534)
try:
    check_database_file(Path(sys.argv[1]))
except InvalidInputError as error:
    print(error.message)
"""


def test_no_permission() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to nobody
        Path(folder).chmod(0o755)
        path = make_shop(Path(folder) / "locked.sqlite")
        path.chmod(0)
        said = subprocess.run(
            [sys.executable, "-c", READ_AS_NOBODY, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert said.stdout.strip() == f"{path} may not be read by this user; give it read permission."


def test_what_becomes_a_pipe_after_the_first_look_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="is a named pipe"):
        read_header(tmp_path / "pipe")


def test_the_size_limit_is_a_choice(shop: Path) -> None:
    size = shop.stat().st_size
    assert check_database_file(shop, most_bytes=size)[2] == size
    with pytest.raises(InvalidInputError, match=f"has {size} bytes; at most {size - 1}"):
        check_database_file(shop, most_bytes=size - 1)


@pytest.mark.parametrize("deadline", [0, -0.0, -1, math.nan, math.inf, -math.inf])
def test_deadlines(pool: SandboxPool, shop: Path, deadline: float) -> None:
    with pytest.raises(InvalidInputError, match=f"deadline is {deadline} s; give a number of seconds above 0"):
        pool.execute(shop, "SELECT 1", deadline_s=deadline)
    with (
        SandboxPool(1, replace(Limits(), deadline_s=deadline)) as bad,
        pytest.raises(InvalidInputError, match="deadline"),
    ):
        bad.execute(shop, "SELECT 1")


@pytest.mark.parametrize(
    ("sql", "outcome", "sentence"),
    [
        ("SELECT '" + "x" * 10_000_000 + "'", Outcome.BYTE_LIMIT, "the SQL has 10000009 bytes; at most 100000"),
        ("é" * 5_000_000, Outcome.BYTE_LIMIT, "the SQL has 10000000 bytes; at most 100000"),
        ("SELECT 1\x00; DROP TABLE customer", Outcome.SYNTAX_ERROR, "NUL character at position 8"),
        ("\x00", Outcome.SYNTAX_ERROR, "NUL character at position 0"),
        ("SELECT '\udc80'", Outcome.SYNTAX_ERROR, "not valid Unicode"),
    ],
    ids=["ten megabytes", "ten megabytes of two bytes each", "NUL", "only NUL", "half a character"],
)
def test_texts(pool: SandboxPool, shop: Path, sql: str, outcome: Outcome, sentence: str) -> None:
    ran = pool.execute(shop, sql)
    assert ran.outcome is outcome
    assert sentence in (ran.message or "")
