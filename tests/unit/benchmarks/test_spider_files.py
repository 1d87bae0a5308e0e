from pathlib import Path

import pytest

from services.benchmarks.prediction_files import PairedFiles, PredictionPair, read_spider_pairs
from shared.errors import InvalidInputError

KNOWN = ["air", "pets_1"]


def read(folder: Path, golds: str | bytes, predictions: str | bytes, *, lenient: bool = False) -> PairedFiles:
    paths = [folder / "gold.sql", folder / "pred.sql"]
    for path, content in zip(paths, (golds, predictions), strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_spider_pairs(paths[0], paths[1], KNOWN, lenient=lenient)


def test_files_in_the_official_format(tmp_path: Path) -> None:
    found = read(tmp_path, "SELECT 1\tair\nSELECT 2\tpets_1\n", "SELECT 3\tair\n  SELECT 4  \n\n")
    assert found.pairs == [
        PredictionPair(0, "air", "SELECT 1", "SELECT 3"),
        PredictionPair(1, "pets_1", "SELECT 2", "SELECT 4"),
    ]
    assert found.problems == []


def test_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, b"SELECT 1\tair\r\nSELECT 2\tair\r\n", b"SELECT 3\r\nSELECT 4\r\n")
    assert [pair.prediction for pair in found.pairs] == ["SELECT 3", "SELECT 4"]
    assert [pair.db_id for pair in found.pairs] == ["air", "air"]


@pytest.mark.parametrize(
    ("golds", "predictions", "message"),
    [
        ("SELECT 1\tair\n", "SELECT 1\n\nSELECT 2\n", r"pred\.sql, line 2: this line is blank"),
        ("SELECT 1\tair\n\nSELECT 2\tair\n", "SELECT 1\nSELECT 2\n", r"gold\.sql, line 2: this line is blank"),
        ("SELECT 1 air\n", "SELECT 1\n", r"gold\.sql, line 1: a gold is `SQL<tab>db_id`, and this line has 0 tabs"),
        ("SELECT\t1\tair\n", "SELECT 1\n", "this line has 2 tabs"),
        ("SELECT 1\tpets\n", "SELECT 1\n", "no database is called 'pets'; did you mean 'pets_1'"),
        ("SELECT 1\tair\n", "SELECT 1\nSELECT 2\n", r"pred\.sql: it has 2 predictions for the 1 golds of gold\.sql"),
        ("SELECT 1\tair\nSELECT 2\tair\n", "SELECT 1\n", "it has 1 predictions for the 2 golds"),
        ("SELECT 1\tair\n", "\ufeffSELECT 1\n", r"pred\.sql, line 1: a byte order mark"),
        ("SELECT 1\tair\n", b"SELECT 1\nSELECT '\xff'\n", r"pred\.sql, line 2: this is not UTF-8"),
        ("", "SELECT 1\n", r"gold\.sql is empty"),
        ("SELECT 1\tair\n", "\n\n", r"pred\.sql is empty"),
    ],
)
def test_errors_say_where_and_what_to_do(tmp_path: Path, golds: str, predictions: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read(tmp_path, golds, predictions)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        read_spider_pairs(tmp_path / "none.sql", tmp_path / "none.sql")


def test_lenient_keeps_the_rest_in_place(tmp_path: Path) -> None:
    golds = "SELECT 1\tair\nSELECT 2 air\nSELECT 3\tair\nSELECT 4\tair\n"
    found = read(tmp_path, golds, "\ufeffSELECT a\nSELECT b\n\n", lenient=True)
    assert found.pairs == [
        PredictionPair(0, "air", "SELECT 1", "SELECT a"),
        PredictionPair(2, "air", "SELECT 3", "", missing=True),
        PredictionPair(3, "air", "SELECT 4", "", missing=True),
    ]
    assert [(problem.file, problem.line) for problem in found.problems] == [
        ("gold.sql", 2),
        ("pred.sql", 1),
        ("pred.sql", 0),
    ]


def test_lenient_names_a_blank_line_between_answers(tmp_path: Path) -> None:
    found = read(tmp_path, "SELECT 1\tair\n" * 3, "SELECT a\n\nSELECT c\n", lenient=True)
    assert [(pair.prediction, pair.missing) for pair in found.pairs] == [
        ("SELECT a", False),
        ("", True),
        ("SELECT c", False),
    ]
    assert "pred.sql, line 2: this line is blank" in str(found.problems[0])
