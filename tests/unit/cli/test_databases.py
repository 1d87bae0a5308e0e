"""`sense databases` and `sense execute --db-id`."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import make_backend, serve
from tests.support.sandbox import Sandbox, make_database, module_sandbox
from tests.unit.cli.conftest import Sense

__all__ = ["module_sandbox"]
KEYS = ["outcome", "rows", "columns", "row_count", "truncated", "elapsed_ms", "message"]


@pytest.fixture
def stack(
    module_redis_url: str, module_sandbox: Sandbox, sense: Sense, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    backend = make_backend(module_redis_url, module_sandbox.objects.root, sandbox=module_sandbox.settings)
    with serve(backend) as url:
        monkeypatch.setenv("SENSE_URL", url)
        yield url


def test_a_database_is_added_listed_shown_and_asked(sense: Sense, stack: str, tmp_path: Path) -> None:
    assert "no databases" in sense("databases").out
    path = tmp_path / "shop.sqlite"
    make_database(path)
    added = sense("databases", "add", path)
    made = json.loads(sense("databases", "add", path, "--json").out)
    assert (added.code, added.err) == (0, "")
    assert f"database {made['id']} is shop: 2 table(s)" in added.out
    assert "1 view(s) and 1 trigger(s); triggers never fire" in added.out
    listed = sense("databases")
    assert made["id"] in listed.out and "shop" in listed.out
    assert json.loads(sense("databases", "--json").out) == [made]
    shown = sense("databases", "show", made["id"]).out
    for part in ("customer  (3 rows)", "never reused", "customer.id", "Ada, Bob, Cyd", "primary"):
        assert part in shown
    assert json.loads(sense("databases", "show", made["id"], "--json").out)["upload"] == made
    ran = sense("execute", "--db-id", made["id"], "--sql", "SELECT name FROM customer", "--max-rows", 1)
    result = json.loads(ran.out)
    assert (ran.code, list(result), result["rows"], result["row_count"]) == (0, KEYS, [["Ada"]], 3)
    assert sense("execute", "--db-id", made["id"], "--sql", "SELEC").code == 1


def test_notes_about_odd_files_are_printed(sense: Sense, stack: str, tmp_path: Path) -> None:
    path = tmp_path / "wal.sqlite"
    make_database(path, "PRAGMA journal_mode=WAL; CREATE TABLE t(a);")
    assert "note: the file is in WAL mode" in sense("databases", "add", path, "--name", "w").out


def test_bad_input_is_2_without_output(sense: Sense, stack: str, tmp_path: Path) -> None:
    text, empty, busy = tmp_path / "notes.sqlite", tmp_path / "empty.sqlite", tmp_path / "busy.sqlite"
    text.write_text("no database")
    empty.touch()
    writer = sqlite3.connect(busy)
    writer.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t(a);")
    cases: list[tuple[object, ...]] = [
        ("databases", "add"),
        ("databases", "add", tmp_path / "absent.sqlite"),
        ("databases", "add", tmp_path),
        ("databases", "add", text),
        ("databases", "add", empty),
        ("databases", "add", busy),
        ("databases", "show", "absent"),
        ("databases", "--limit", 0),
        ("execute", "--db-id", "absent", "--sql", "SELECT 1"),
        ("execute", "--db-id", "absent", "--db", busy, "--sql", "SELECT 1"),
        ("execute", "--db-id", "absent", "--sql", "SELECT 1", "--deadline", "nan"),
        ("execute", "--db-id", "absent", "--sql", "SELECT 1", "--deadline", "1e9"),
    ]
    for words in cases:
        ended = sense(*words)
        assert (ended.code, ended.out) == (2, ""), (words, ended)
        assert ended.err
        assert "Traceback" not in ended.err
    writer.close()


def test_a_stack_without_its_sandbox_is_3(
    sense: Sense, module_redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.sqlite"
    make_database(path)
    with serve(make_backend(module_redis_url, tmp_path / "objects")) as url:
        monkeypatch.setenv("SENSE_URL", url)
        for words in (("databases", "add", path), ("execute", "--db-id", "ab" * 32, "--sql", "SELECT 1")):
            ended = sense(*words)
            assert (ended.code, ended.out) == (3, "")
            assert "the sandbox at" in ended.err and "does not answer" in ended.err


def test_a_spec_s_databases_given_as_files_are_brought_first(sense: Sense, stack: str, tmp_path: Path) -> None:
    make_database(tmp_path / "shop.sqlite")
    spec = tmp_path / "spec.yaml"
    spec.write_text("kind: synthesis\ndatabases: [{file: shop.sqlite}]\n")
    submitted = sense("submit", spec, "--json")
    assert submitted.code == 0, submitted.err
    (named,) = json.loads(submitted.out)["spec"]["databases"]
    assert json.loads(sense("databases", "show", named["id"], "--json").out)["upload"]["name"] == "shop"
