"""Every published layout, small; and what is wrong with a file is said with its name and line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.datasets import (
    PETS,
    SINGERS,
    SPIDER,
    make_databases,
    make_file,
    make_spider,
    write_json,
    write_lines,
)
from tests.unit.cli.conftest import Ended, Sense

BIRD = [
    {
        "question_id": 0,
        "db_id": "singers",
        "question": "How old is Ann?",
        "evidence": "age is in years",
        "SQL": "SELECT age FROM singer WHERE name = 'Ann'",
        "difficulty": "simple",
    },
    {
        "question_id": 1,
        "db_id": "absent",
        "question": "What?",
        "evidence": "",
        "SQL": "SELECT 1",
        "difficulty": "challenging",
    },
]
CUSTOM: list[Any] = [
    {"question": "How many?", "sql": "SELECT count(*) FROM pet", "db": "pets", "id": "a", "level": "easy"},
    {"question": "Heavy ones?", "sql": "SELECT kind FROM pet WHERE weight > 99", "db": "pets", "split": "train"},
]


def checked(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def refused(ended: Ended, *words: str) -> None:
    assert (ended.code, ended.out) == (2, ""), ended
    for word in words:
        assert word in ended.err, ended.err


def test_spider(sense: Sense, tmp_path: Path) -> None:
    root = make_spider(tmp_path / "spider")
    found = checked(sense("import", "spider", root, "--check", "--json"))
    assert (found["questions"], found["policy"], found["release"]) == (3, "spider", None)
    assert found["hardness"] == {"easy": 2, "medium": 1}
    assert (found["ceiling"], found["skipped"], found["health"]["failed"]) == (1.0, {}, [])
    text = sense("import", "spider", root, "--check", "--limit", 2)
    assert "2 questions (dev 2) over 1 databases" in text.out and "version: unknown" in text.out
    assert "not a known version" in text.out


def test_a_gold_file_that_differs_or_lacks_its_tab_is_noted(sense: Sense, tmp_path: Path) -> None:
    root = make_spider(tmp_path / "spider")
    golds = [f"{one['query']}\t{one['db_id']}" for one in SPIDER]
    (root / "dev_gold.sql").write_text("\n".join(golds))
    found = checked(sense("import", "spider", root, "--check", "--json"))
    assert not any("dev_gold" in note for note in found["notes"])
    (root / "dev_gold.sql").write_text("\n".join([golds[0].replace("\t", " "), "SELECT 1\tsingers", golds[2]]))
    found = checked(sense("import", "spider", root, "--check", "--json"))
    assert any("dev_gold.sql, line 1: a gold is" in note for note in found["notes"])
    assert any("1 golds differ from dev.json" in note for note in found["notes"])
    refused(sense("import", "spider", root, "--check", "--strict"), "dev_gold.sql, line 1", "tab")


def test_spiders_relatives(sense: Sense, tmp_path: Path) -> None:
    make_spider(tmp_path / "spider")
    syn = [{**one, "SpiderQuestion": one["question"], "SpiderSynQuestion": "Synonym?"} for one in SPIDER]
    write_json(tmp_path / "syn/dev.json", syn)
    found = checked(sense("import", "spider-syn", tmp_path / "syn", "--check", "--json"))
    assert (found["questions"], found["databases"]) == (3, 2)
    make_file(tmp_path / "dk/database/new_pets/new_pets.sqlite", PETS)
    dk = [*SPIDER, {"type": 1, "db_id": "new_pets", "question": "Kinds?", "query": "SELECT kind FROM pet"}]
    write_json(tmp_path / "dk/Spider-DK.json", dk)
    found = checked(sense("import", "spider-dk", tmp_path / "dk", "--check", "--json"))
    assert (found["questions"], found["databases"], found["hardness"]) == (4, 2, {"easy": 3, "medium": 1})
    write_json(tmp_path / "real/spider-realistic.json", SPIDER[:1])
    found = checked(sense("import", "spider-realistic", tmp_path / "real", "--check", "--json"))
    assert found["questions"] == 1


def test_bird_leaves_out_missing_databases_with_their_count(sense: Sense, tmp_path: Path) -> None:
    make_databases(tmp_path / "dev_databases")
    write_json(tmp_path / "dev.json", BIRD)
    found = checked(sense("import", "bird", tmp_path, "--check", "--json"))
    assert (found["questions"], found["skipped"], found["policy"]) == (1, {"absent": 1}, "bird")
    assert found["hardness"] == {"simple": 1}
    assert "left out: 1 questions on 1 databases" in sense("import", "bird", tmp_path, "--check").out
    refused(sense("import", "bird", tmp_path, "--check", "--strict"), "dev.json, line 3", "'absent'", "--db")


def test_bird_train_lists_golds_that_fail_and_has_no_difficulty(sense: Sense, tmp_path: Path) -> None:
    make_databases(tmp_path / "train_databases")
    rows = [{k: v for k, v in BIRD[0].items() if k not in ("difficulty", "question_id")}]
    rows.append({**rows[0], "question": "Broken?", "SQL": "SELECT height FROM singer"})
    write_json(tmp_path / "train.json", rows)
    found = checked(sense("import", "bird", tmp_path, "--split", "train", "--check", "--json"))
    (fault,) = found["health"]["failed"]
    assert (fault["index"], fault["place"], fault["outcome"]) == (1, "train.json, line 3", "unknown_column")
    assert (found["ceiling"], found["hardness"]) == (0.5, {"not stated": 2})


def test_bird_mini(sense: Sense, tmp_path: Path) -> None:
    make_databases(tmp_path / "bird/dev_databases")
    for place in ("bird/mini_dev", "bird"):
        write_json(tmp_path / "bird/mini_dev/mini_dev_sqlite.json", BIRD[:1])
        assert checked(sense("import", "bird-mini", tmp_path / place, "--check", "--json"))["questions"] == 1


def test_custom(sense: Sense, tmp_path: Path) -> None:
    make_databases(tmp_path / "databases")
    path = write_lines(tmp_path / "mine.jsonl", CUSTOM)
    found = checked(sense("import", "custom", path, "--check", "--json"))
    assert (found["questions"], found["splits"], found["policy"]) == (2, {"dev": 1, "train": 1}, "strict")
    assert found["health"]["empty"] == [1], "an empty gold is told, and no failure"
    assert checked(sense("import", "custom", path, "--split", "train", "--check", "--json"))["questions"] == 1
    make_file(tmp_path / "flat/pets.db", PETS)
    found = checked(sense("import", "custom", path, "--db", tmp_path / "flat", "--check", "--json"))
    assert found["hardness"] == {"easy": 2}


def test_golds_that_fail_stall_or_share_a_question(sense: Sense, tmp_path: Path) -> None:
    make_databases(tmp_path / "databases")
    rows = [
        {"question": "Same?", "sql": "SELECT kind FROM pet", "db": "pets"},
        {"question": "same? ", "sql": "SELECT id FROM pet", "db": "pets"},
        {"question": "Bad", "sql": "SELEC kind", "db": "pets"},
        {"question": "Writes", "sql": "DELETE FROM pet", "db": "pets"},
        {"question": "Much", "sql": "SELECT a.id FROM pet a" + ", pet b" * 40, "db": "pets"},
    ]
    path = write_lines(tmp_path / "q.jsonl", rows)
    health = checked(sense("import", "custom", path, "--check", "--json"))["health"]
    assert [fault["outcome"] for fault in health["failed"]] == ["syntax_error", "not_authorized"]
    assert [fault["index"] for fault in health["capped"] + health["timeouts"]] == [4]
    assert health["shared"] == [[0, 1]]
    text = sense("import", "custom", path, "--check").out
    assert "question 2 (pets; q.jsonl, line 3): syntax_error" in text and "2 of 5 can be answered" in text


BAD: list[tuple[str, Callable[[Path], Any], list[str]]] = [
    ("broken", lambda p: (p / "q.jsonl").write_text('{"question": "x"\n'), ["q.jsonl, line 1", "not JSON"]),
    ("array", lambda p: write_lines(p / "q.jsonl", ["[", CUSTOM[0]]), ["q.jsonl, line 3", "ends without"]),
    ("no object", lambda p: (p / "q.jsonl").write_text("3\n"), ["q.jsonl, line 1", "JSON object"]),
    ("bom", lambda p: (p / "q.jsonl").write_text("\ufeff{}"), ["q.jsonl, line 1", "byte order mark"]),
    ("latin", lambda p: (p / "q.jsonl").write_bytes(b'{"question": "\xe9"}'), ["q.jsonl, line 1", "UTF-8"]),
    ("empty", lambda p: (p / "q.jsonl").write_text("\n"), ["q.jsonl, line 1", "empty"]),
    ("missing", lambda p: write_lines(p / "q.jsonl", ["", '{"question": "x"}']), ["q.jsonl, line 2", "`db`"]),
    ("field", lambda p: write_lines(p / "q.jsonl", [{**CUSTOM[0], "SQL": 1}]), ["line 1", "unknown field SQL"]),
    ("split", lambda p: write_lines(p / "q.jsonl", [{**CUSTOM[0], "split": "val"}]), ["line 1", "'val'", "train"]),
    ("level", lambda p: write_lines(p / "q.jsonl", [{**CUSTOM[0], "level": "huge"}]), ["line 1", "'huge'"]),
    ("twice", lambda p: write_lines(p / "q.jsonl", [CUSTOM[0], CUSTOM[0]]), ["line 2", "'a' stands on line 1"]),
    ("no db", lambda p: write_lines(p / "q.jsonl", [{**CUSTOM[0], "db": "pats"}]), ["line 1", "did you mean 'pets'"]),
    ("text", lambda p: write_lines(p / "q.jsonl", [{**CUSTOM[0], "sql": 5}]), ["line 1", "`sql` is empty or no text"]),
]


@pytest.mark.parametrize(("name", "write", "words"), BAD, ids=[one[0] for one in BAD])
def test_a_bad_question_file_is_refused_with_its_line(
    sense: Sense, tmp_path: Path, name: str, write: Callable[[Path], Any], words: list[str]
) -> None:
    make_databases(tmp_path / "databases")
    write(tmp_path)
    refused(sense("import", "custom", tmp_path / "q.jsonl", "--check"), *words)


def test_a_bad_array_names_the_line_of_its_entry(sense: Sense, tmp_path: Path) -> None:
    root = make_spider(tmp_path / "spider", [SPIDER[0], {"db_id": "singers", "question": "No gold?"}])
    refused(sense("import", "spider", root, "--check"), "dev.json, line 3", "`query` is missing")
    (root / "dev.json").write_text((root / "dev.json").read_text().replace("},", "}, ,"))
    refused(sense("import", "spider", root, "--check"), "dev.json, line", "not JSON")
    make_spider(root)
    (root / "tables.json").write_text('[{"db_id":\n')
    refused(sense("import", "spider", root, "--check"), "tables.json, line 2", "not JSON")


def test_bad_folders_and_names(sense: Sense, tmp_path: Path) -> None:
    root = make_spider(tmp_path / "spider")
    refused(sense("import", "sparc", root, "--check"), "no format is called 'sparc'", "bird-mini")
    refused(sense("import", "spider", tmp_path / "absent", "--check"), "there is no folder")
    refused(sense("import", "spider", root, "--split", "test", "--check"), "has no test.json")
    refused(sense("import", "spider", root, "--split", "validation", "--check"), "no split is called")
    refused(sense("import", "spider-dk", root, "--split", "train", "--check"), "this format has no split")
    refused(sense("import", "spider", root), "needs a name")
    refused(sense("import", "spider", root, "--name", "My Set"), "'My Set' is no name")
    (tmp_path / "bare").mkdir()
    refused(sense("import", "spider", root, "--db", tmp_path / "nowhere", "--check"), "there is no folder", "--db")
    path = write_lines(tmp_path / "only/q.jsonl", CUSTOM)
    refused(sense("import", "custom", path, "--check"), "no databases in")
    (root / "database/singers/singers.sqlite").write_text("no database at all")
    refused(sense("import", "spider", root, "--check"), "singers.sqlite", "not a SQLite database")
    make_file(tmp_path / "x.sqlite", SINGERS)
