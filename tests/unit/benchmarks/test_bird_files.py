import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.benchmarks.prediction_files import (
    SEPARATOR,
    PairedFiles,
    golds_of,
    read_bird_pairs,
    read_bird_questions,
)
from shared.errors import InvalidInputError
from tests.support.benchmarks import DATA, needs_data


def answer(sql: str, name: str = "air") -> str:
    return f"{sql}{SEPARATOR}{name}"


def read(folder: Path, golds: int, predictions: Any, *, lenient: bool = False) -> PairedFiles:
    gold, pred = folder / "gold.sql", folder / "pred.json"
    gold.write_text("SELECT 1\tair\n" * golds)
    pred.write_text(predictions if isinstance(predictions, str) else json.dumps(predictions))
    return read_bird_pairs(gold, pred, ["air"], lenient=lenient)


def test_the_official_format(tmp_path: Path) -> None:
    found = read(tmp_path, 2, {"0": answer("SELECT\n 5"), "1": answer("SELECT 6")})
    assert [pair.prediction for pair in found.pairs] == ["SELECT\n 5", "SELECT 6"]


def test_an_answer_that_is_no_text_is_a_blank_sql(tmp_path: Path) -> None:
    found = read(tmp_path, 1, {"0": 0})
    assert found.pairs[0].prediction == " "
    assert "answer 0 is 0, no text" in found.problems[0].message


@pytest.mark.parametrize(
    ("golds", "predictions", "message"),
    [
        (1, '{"0": "SELECT 1",\n}', r"pred\.json, line 2, column 1: this is not JSON"),
        (1, "[1]", "predictions are one JSON object"),
        (1, "[]", "it has 0 predictions for the 1 golds"),
        (1, {"0": "SELECT 1"}, "answer 0 is not `SQL"),
        (2, {"1": answer("a"), "0": answer("b")}, "answer 0 has the key 1"),
        (2, {"0": answer("a"), "2": answer("b")}, "answer 1 has the key 2"),
        (1, {"zero": answer("a")}, "key 'zero' is no number"),
        (1, {"99999999999": answer("a")}, "is beyond"),
        (1, '{"0": "a", "0": "b"}', "key '0' stands twice"),
        (2, {"0": answer("a")}, "it has 1 predictions for the 2 golds"),
        (1, {"0": answer("a", "financial")}, "this answer is for 'financial', and its gold for 'air'"),
    ],
)
def test_errors_say_where_and_what_to_do(tmp_path: Path, golds: int, predictions: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read(tmp_path, golds, predictions)


def test_lenient_goes_by_the_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, 3, {"2": answer("c"), "0": " a "}, lenient=True)
    assert [(pair.prediction, pair.missing) for pair in found.pairs] == [("a", False), ("", True), ("c", False)]
    assert len(found.problems) == 3


@pytest.mark.parametrize("lines", [True, False])
def test_questions_as_json_and_as_lines(tmp_path: Path, lines: bool) -> None:
    entry = {"db_id": "air", "SQL": "SELECT 1", "difficulty": "simple"}
    path = tmp_path / "dev.json"
    path.write_text("\n".join([json.dumps(entry)] * 2) if lines else json.dumps([entry, entry], indent=1))
    questions = read_bird_questions(path, ["air"])
    assert [question["difficulty"] for question in questions] == ["simple", "simple"]
    assert [gold.sql for gold in golds_of(questions)] == ["SELECT 1", "SELECT 1"]
    with pytest.raises(InvalidInputError, match="no database is called 'air'"):
        read_bird_questions(path, ["sea"])


@pytest.mark.parametrize(
    ("text", "message"),
    [('[{"db_id": "air"}]', "question 0 has no SQL, difficulty"), ('{"a": 1}\n{', "line 2: this is not JSON")],
)
def test_broken_questions_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_bird_questions(path)


@needs_data
def test_the_public_files() -> None:
    mini = read_bird_pairs(
        DATA / "bird/mini_dev/mini_dev_sqlite_gold.sql",
        DATA / "predictions/bird_minidev/predict_mini_dev_gpt-4-turbo_cot_SQLite.json",
    )
    assert (len(mini.pairs), mini.problems) == (500, [])
    assert Counter(question["difficulty"] for question in read_bird_questions(DATA / "bird/dev.json")) == {
        "simple": 925,
        "moderate": 464,
        "challenging": 145,
    }
