"""`execute` and `ask`: SQL in the sandbox, written by a person or by a served model."""

import json
from pathlib import Path

import pytest

from tests.support.engine import Engine
from tests.unit.cli.conftest import Sense

KEYS = ["outcome", "rows", "columns", "row_count", "truncated", "elapsed_ms", "message"]


def test_execute_prints_one_object(sense: Sense, singers: Path) -> None:
    ended = sense("execute", "--db", singers, "--sql", "SELECT name, age FROM singer ORDER BY age", "--max-rows", 2)
    result = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert list(result) == KEYS
    assert result["rows"] == [["Bo", 29], ["[red]Cy", 35]]
    assert (result["outcome"], result["row_count"], result["truncated"]) == ("ok", 3, True)


@pytest.mark.parametrize(
    ("sql", "outcome", "code"),
    [
        ("SELECT 1 WHERE 0", "empty", 0),
        ("SELEC 1", "syntax_error", 1),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n", "timeout", 1),
    ],
)
def test_the_exit_code_follows_the_outcome(sense: Sense, singers: Path, sql: str, outcome: str, code: int) -> None:
    ended = sense("execute", "--db", singers, "--sql", sql, "--deadline", 0.3)
    assert (json.loads(ended.out)["outcome"], ended.code) == (outcome, code)


def test_sql_comes_from_a_file_too(sense: Sense, singers: Path, tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_bytes(b"\xef\xbb\xbfSELECT 'h\xc3\xa9'")
    assert json.loads(sense("execute", "--db", singers, "--file", file).out)["rows"] == [["hé"]]


def test_bad_input_is_2_without_output(sense: Sense, singers: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no database")
    cases = [
        ("--db", singers),
        ("--db", singers, "--sql", "SELECT 1", "--file", text),
        ("--db", tmp_path / "absent.sqlite", "--sql", "SELECT 1"),
        ("--db", text, "--sql", "SELECT 1"),
        ("--db", singers, "--file", tmp_path / "absent.sql"),
        ("--db", singers, "--file", tmp_path),
        ("--sql", "SELECT 1"),
        ("--db", singers, "--sql", "SELECT 1", "--max-rows", "-1"),
    ]
    for words in cases:
        ended = sense("execute", *words)
        assert (ended.code, ended.out) == (2, ""), words
        assert ended.err
        assert "Traceback" not in ended.err


def test_ask_shows_sql_and_rows(sense: Sense, asking: str, singers: Path, engine: Engine) -> None:
    ended = sense("ask", "--db", singers, "Who is youngest?", "--rows", 1, "--evidence", "youth is age")
    assert ended.code == 0
    assert ended.out.startswith("SELECT name FROM singer ORDER BY age\n")
    assert "[red]Cy" in ended.out
    assert "3 row(s)" in ended.out
    assert "tuned, 4 tokens" in ended.err
    asked = engine.asked[0]
    prompt = asked["messages"][-1]["content"]
    assert (asked["model"], asked["temperature"]) == ("tuned", 0)
    assert "CREATE TABLE singer" in prompt
    assert prompt.endswith("External knowledge: youth is age\nQuestion: Who is youngest?")
    assert "Ann | 41" in prompt
    assert "Bo | 29" not in prompt


def test_ask_prints_json_and_sends_a_file_once(sense: Sense, asking: str, singers: Path) -> None:
    printed = json.loads(sense("ask", "--db", singers, "Who?", "--json", "--model", "tuned").out)
    assert printed["sql"] == "SELECT name FROM singer ORDER BY age"
    assert printed["result"]["outcome"] == "ok"
    again = json.loads(sense("ask", "--db-id", printed["database_id"], "Who?", "--json", "--no-execute").out)
    assert (again["database_id"], again["result"]) == (printed["database_id"], None)
    assert sense("databases", "--json").out.count(printed["database_id"]) == 1


def test_ask_shows_votes_repairs_and_dialects(sense: Sense, asking: str, singers: Path, engine: Engine) -> None:
    engine.answers = ["SELECT max(age) FROM singer", "SELECT min(age) FROM singer", "SELECT min(age)+0 FROM singer"]
    ended = sense("ask", "--db", singers, "How old?", "--n", 3)
    assert ended.out.startswith("SELECT min(age) FROM singer\n")
    assert "2 of 3 samples agree by execution" in ended.err
    engine.answers = ["SELECT absent FROM singer"]
    ended = sense("ask", "--db", singers, "Who?", "--repair", "--dialect", "tsql")
    assert (ended.code, "repaired; before: SELECT absent FROM singer (unknown_column)" in ended.err) == (0, True)
    assert "In tsql:" in ended.out


def test_ask_takes_a_ddl(sense: Sense, asking: str, tmp_path: Path) -> None:
    ddl = tmp_path / "schema.sql"
    ddl.write_text("CREATE TABLE singer (name TEXT, age INT);")
    ended = sense("ask", "--ddl", ddl, "Who?", "--n", 2)
    assert (ended.code, "0 row(s)" in ended.out) == (0, True)
    assert "counted by their text" in ended.err


def test_an_answer_without_sql_fails(sense: Sense, asking: str, singers: Path, engine: Engine) -> None:
    engine.answer = "I do not know."
    ended = sense("ask", "--db", singers, "Who?")
    assert ended.code == 1
    assert "wrote no SQL" in ended.out
    engine.answer = "SELECT absent FROM singer"
    ended = sense("ask", "--db", singers, "Who?")
    assert ended.code == 1
    assert "no such column" in ended.out


def test_bad_questions_are_2_without_output(sense: Sense, asking: str, singers: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no database")
    cases = [
        ("Who?",),
        ("--db", singers, "--db-id", "x", "Who?"),
        ("--db", tmp_path / "absent.sqlite", "Who?"),
        ("--db", text, "Who?"),
        ("--ddl", text, "Who?"),
        ("--db-id", "x", "Who?"),
        ("--db", singers, " "),
        ("--db", singers, "Who?", "--model", "absent"),
        ("--db", singers, "Who?", "--dialect", "klingon"),
        ("--db", singers, "Who?", "--n", "0"),
    ]
    for words in cases:
        ended = sense("ask", *words)
        assert (ended.code, ended.out) == (2, ""), (words, ended)
        assert "Traceback" not in ended.err


def test_the_newest_model_answers_where_none_is_named(sense: Sense, asking: str, singers: Path, engine: Engine) -> None:
    engine.models, engine.created = ("base", "tuned"), {"base": 1, "tuned": 2}
    assert json.loads(sense("ask", "--db", singers, "Who?", "--json").out)["model"] == "tuned"
    engine.models = ()
    assert "no model is served" in sense("ask", "--db", singers, "Who?").err


def test_an_engine_that_is_away_is_3(sense: Sense, asking: str, singers: Path, engine: Engine) -> None:
    engine.shutdown()
    engine.server_close()
    ended = sense("ask", "--db", singers, "Who?")
    assert (ended.code, ended.out) == (3, "")
    assert "does not answer" in ended.err


def test_help_names_every_command(sense: Sense) -> None:
    ended = sense("--help")
    assert ended.code == 0
    for command in ("submit", "jobs", "job", "cancel", "retry", "artifacts", "execute", "ask"):
        assert f" {command} " in ended.out
