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


def test_ask_shows_sql_and_rows(sense: Sense, stack: str, singers: Path, engine: Engine) -> None:
    ended = sense("ask", "--db", singers, "Who is youngest?", "--rows", 1)
    assert ended.code == 0
    assert ended.out.startswith("SELECT name FROM singer ORDER BY age\n")
    assert "[red]Cy" in ended.out
    assert "3 row(s)" in ended.out
    asked = engine.asked[0]
    prompt = asked["messages"][-1]["content"]
    assert (asked["model"], asked["temperature"]) == ("tuned", 0)
    assert "CREATE TABLE singer" in prompt
    assert prompt.endswith("Question: Who is youngest?")
    assert "Ann | 41" in prompt
    assert "Bo | 29" not in prompt


def test_ask_prints_json(sense: Sense, stack: str, singers: Path) -> None:
    printed = json.loads(sense("ask", "--db", singers, "Who?", "--json", "--model", "tuned").out)
    assert printed["sql"] == "SELECT name FROM singer ORDER BY age"
    assert printed["result"]["outcome"] == "ok"


def test_an_answer_without_sql_fails(sense: Sense, stack: str, singers: Path, engine: Engine) -> None:
    engine.answer = "I do not know."
    ended = sense("ask", "--db", singers, "Who?")
    assert ended.code == 1
    assert "wrote no SQL" in ended.out
    engine.answer = "SELECT absent FROM singer"
    ended = sense("ask", "--db", singers, "Who?")
    assert ended.code == 1
    assert "no such column" in ended.out


def test_the_model_must_be_clear(sense: Sense, stack: str, singers: Path, engine: Engine) -> None:
    engine.models = ("base", "tuned")
    ended = sense("ask", "--db", singers, "Who?")
    assert (ended.code, ended.out) == (2, "")
    assert "choose one with --model: base, tuned" in ended.err
    assert sense("ask", "--db", singers, "Who?", "--model", "base").code == 0
    assert sense("ask", "--db", singers, "Who?", "--model", "absent").code == 2
    engine.models = ()
    assert "no model is served" in sense("ask", "--db", singers, "Who?").err


def test_an_engine_that_is_away_is_3(sense: Sense, stack: str, singers: Path, engine: Engine) -> None:
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
