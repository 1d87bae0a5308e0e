"""Answers of a strong model: what is forgiven, and what is refused with a reason by name."""

import ast
import re
import sqlite3
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.synthesis.writers.llm_answers import AnswerError, parse_answer, read_json_sections
from services.synthesis.writers.seeds import builtin_seeds, render_seed
from services.synthesis.writers.sql_scripts import read_script, split_statements

ROOT = Path(__file__).parents[4]
SHAPES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "answer_shapes.yaml").read_text())
ACCEPTED = [pytest.param(one, id=one["name"]) for one in SHAPES if "reason" not in one]
REFUSED = [pytest.param(one, id=one["name"]) for one in SHAPES if "reason" in one]
PLAIN: str = SHAPES[0]["text"]


def test_there_are_enough_shapes() -> None:
    assert len(ACCEPTED) >= 40 and len(REFUSED) >= 15
    assert len({one["name"] for one in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize("shape", ACCEPTED)
def test_what_models_do_is_forgiven(shape: dict[str, Any]) -> None:
    expect = {"domain": "bakeries", "sql": "SELECT name FROM bread", **shape.get("expect", {})}
    parsed = parse_answer(
        shape["text"], for_user_database=shape.get("own", False), finish_reason=shape.get("finish", "stop")
    )
    assert parsed.domain.lower() == expect["domain"]
    assert parsed.question == "Which breads are there?"
    assert parsed.sql == expect["sql"]
    assert parsed.evidence == expect.get("evidence")
    if "reasoning" in expect or "Explanation" not in shape["text"]:
        assert parsed.reasoning == expect.get("reasoning")
    if expect.get("own"):
        assert parsed.script is None
        return
    assert parsed.script is not None
    database = sqlite3.connect(":memory:")
    for statement in (*parsed.script.ddl, *parsed.script.inserts):
        database.execute(statement)
    tables = database.execute("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    assert tables == expect.get("tables", 1)
    rows = database.execute(parsed.sql).fetchall()
    assert len(rows) == expect["rows"] if "rows" in expect else rows
    if rows:
        assert database.execute("SELECT COUNT(*) FROM bread WHERE id IS NULL").fetchone() == (0,)


@pytest.mark.parametrize("shape", REFUSED)
def test_what_holds_no_example_has_its_reason(shape: dict[str, Any]) -> None:
    with pytest.raises(AnswerError) as caught:
        parse_answer(
            shape["text"], for_user_database=shape.get("own", False), finish_reason=shape.get("finish", "stop")
        )
    assert caught.value.reason == shape["reason"]
    assert str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ; ; ", []),
        ("A; B", ["A", "B"]),
        ("A 'x;y' ; B", ["A 'x;y'", "B"]),
        ("A 'it''s; so'; B", ["A 'it''s; so'", "B"]),
        ('A "x;y"; B', ['A "x;y"', "B"]),
        ("A -- it's; not\n; B", ["A -- it's; not", "B"]),
        ("A /* ; ' */; B", ["A /* ; ' */", "B"]),
        ("CREATE TABLE a(x)\nCREATE TABLE b(x)", ["CREATE TABLE a(x)", "CREATE TABLE b(x)"]),
        ("INSERT INTO a\nSELECT 1", ["INSERT INTO a\nSELECT 1"]),
        ("CREATE TABLE a(x,\nDELETE TEXT)", ["CREATE TABLE a(x,\nDELETE TEXT)"]),
    ],
)
def test_statements_end_at_semicolons_outside_quotes(text: str, expected: list[str]) -> None:
    assert split_statements(text) == expected


def test_a_comment_before_a_statement_hides_nothing() -> None:
    text = "-- first\nCREATE TABLE a(x);\n/* second */\n-- and\nCREATE TABLE b(x);\n-- rows\nINSERT INTO a VALUES (1);"
    script = read_script(text)
    assert script.ddl == ["CREATE TABLE a(x)", "CREATE TABLE b(x)"]
    assert script.inserts == ["INSERT INTO a VALUES (1)"]


def test_what_sqlite_reads_as_it_is_stays_as_it_is() -> None:
    columns = "id INTEGER PRIMARY KEY AUTOINCREMENT, unsigned TEXT DEFAULT 'ENUM(''x'')', comment TEXT, key CHAR (9)"
    ddl = f"CREATE TABLE a({columns})"
    insert = r"INSERT INTO a VALUES (1, 'C:\dir\', 'AUTO_INCREMENT, NOW()', '')"
    script = read_script(f"{ddl};\n{insert};")
    assert (script.ddl, script.inserts) == ([ddl], [insert])


@pytest.mark.parametrize("more", [{}, {"evidence": True}, {"reasoning": True}, {"evidence": True, "reasoning": True}])
def test_seeds_shown_to_the_model_are_in_the_form_that_is_read(more: dict[str, bool]) -> None:
    for seed in builtin_seeds().seeds:
        parsed = parse_answer(render_seed(seed, **more))
        assert (parsed.domain, parsed.question, parsed.sql) == (seed.domain, seed.question, seed.sql)
        assert parsed.evidence == (seed.evidence if more.get("evidence") else None)
        assert parsed.reasoning == (seed.reasoning if more.get("reasoning") else None)
        assert parsed.script is not None and parsed.script.ddl and parsed.script.inserts


OBJECT = '{"question": "Which breads are there?", "answer": "SELECT name FROM bread"}'


@pytest.mark.parametrize(
    "start", ["", "\n", "json ", "json\n", "```\n", "```json\n", " ``` json\n", "`", "````json\t", "json"]
)
def test_a_json_answer_may_stand_in_a_fence_that_says_json(start: str) -> None:
    sections = read_json_sections(f"{start}{OBJECT}")
    assert sections == {"question": "Which breads are there?", "answer": "SELECT name FROM bread"}


@pytest.mark.parametrize(
    "start", ["no ", "so\n", "on ", "Jo: ", "jsonl ", "```json son\n", "json json ", "```sql\n", "x"]
)
def test_words_of_the_letters_of_json_are_no_fence(start: str) -> None:
    assert read_json_sections(f"{start}{OBJECT}") is None


def test_no_strip_is_given_a_word() -> None:
    """strip() removes a set of characters; a word in it is a prefix or suffix that was meant as a whole."""
    words = []
    for file in chain(ROOT.glob("services/**/*.py"), ROOT.glob("shared/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="strip" | "lstrip" | "rstrip"), args=[ast.Constant(value=str(stripped))]
                ) if re.search(r"[^\W\d_]{2}", stripped):
                    words.append(f"{file.relative_to(ROOT)}:{node.lineno}: {stripped!r}")
    assert words == []


def test_a_flood_is_read_in_time() -> None:
    for piece in ("Domain:\n", "```\n", "'", "CREATE TABLE a(x)\n", "((((", "{", "<domain>", "\\'", ", ", "` ", "json"):
        with pytest.raises(AnswerError):
            parse_answer(piece * 20_000)
