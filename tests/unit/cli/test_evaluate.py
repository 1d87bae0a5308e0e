"""`sense evaluate`, `sense compare`, `sense suite build`: official files in, scores with their evidence out."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.benchmarks import DATA, needs_data, read_json
from tests.unit.cli.conftest import Ended, Sense

SCHEMA = """
CREATE TABLE singer(id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
CREATE TABLE song(id INTEGER PRIMARY KEY, title TEXT, singer_id INTEGER REFERENCES singer(id), value REAL);
INSERT INTO singer VALUES (1,'Ann',41),(2,'Bo',29),(3,'Cy',35),(4,'Di',29);
INSERT INTO song VALUES (1,'one',1,1.5),(2,'two',1,2.5),(3,'three',2,2.0);
"""
# gold, prediction, official ex, strict ex, em, failure
ROWS = [
    ("SELECT count(*) FROM singer", "SELECT count(*) FROM singer", 1, 1, 1, "correct"),
    ("SELECT name FROM singer WHERE age > 30", "SELECT name FROM singer WHERE age > 35", 0, 0, 1, "wrong_rows"),
    ("SELECT age FROM singer", "SELECT DISTINCT age FROM singer", 1, 0, 1, "correct"),
    ("SELECT name FROM singer ORDER BY name", "SELECT name FROM singer ORDER BY name DESC", 0, 0, 0, "wrong_order"),
    ("SELECT name, age FROM singer", "SELECT name FROM singer", 0, 0, 0, "wrong_columns"),
    ("SELECT name FROM singer WHERE age > 99", "SELECT title FROM song WHERE id > 99", 1, 1, 0, "both_empty"),
    ("SELECT name FROM singer", "SELECT nam FROM singer", 0, 0, 0, "unknown_column"),
    ("SELECT name FROM singer", "DELETE FROM singer", 0, 0, 0, "refused"),
    ("SELECT name FROM singer", "SELEC name", 0, 0, 0, "syntax"),
    ("SELECT avg(value) FROM song", "SELECT avg(value) FROM song", 0, 1, 0, "wrong_rows"),
]


@dataclass(frozen=True)
class Files:
    gold: Path
    pred: Path
    db: Path
    out: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "q.jsonl").read_text().splitlines()]

    def document(self) -> Any:
        return json.loads((self.out / "r.json").read_text())


def write(files: Files, rows: list[tuple[str, str]]) -> None:
    files.gold.write_text("".join(f"{gold}\tmusic\n" for gold, _ in rows))
    files.pred.write_text("".join(f"{pred}\n" for _, pred in rows))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    database = tmp_path / "db" / "music" / "music.sqlite"
    database.parent.mkdir(parents=True)
    connection = sqlite3.connect(database)
    connection.executescript(SCHEMA)
    connection.close()
    found = Files(tmp_path / "gold.sql", tmp_path / "pred.sql", tmp_path / "db", tmp_path)
    write(found, [(row[0], row[1]) for row in ROWS])
    return found


Evaluate = Callable[..., Ended]


@pytest.fixture
def evaluate(sense: Sense, files: Files) -> Evaluate:
    def run(*words: object, benchmark: str = "spider") -> Ended:
        paths = ("--gold", files.gold, "--pred", files.pred, "--db", files.db)
        outputs = ("--json", files.out / "r.json", "--per-question", files.out / "q.jsonl")
        return sense("evaluate", "--benchmark", benchmark, *paths, *outputs, *words)

    return run


def test_every_question_is_scored_in_both_modes(evaluate: Evaluate, files: Files) -> None:
    ended = evaluate()
    assert (ended.code, ended.err) == (0, "")
    lines = files.lines()
    found = [(line["ex"], line["other_mode"]["ex"], line["em"], line["failure"]) for line in lines]
    assert found == [row[2:] for row in ROWS]
    assert lines[2]["quirks"] == ["distinct_removed"]
    assert lines[9]["quirks"] == ["value_replaced"]
    assert lines[1]["first_difference"] == {"row": 1, "gold": ["Cy"], "prediction": None}
    assert lines[0]["result"] == {"columns": ["count(*)"], "rows": [[4]], "row_count": 1, "truncated": False}
    assert "no such column: nam" in lines[6]["message"]
    assert {line["hardness"] for line in lines} == {"easy", "medium"}


def test_the_document_adds_up(evaluate: Evaluate, files: Files) -> None:
    evaluate()
    document = files.document()
    assert document["overall"] == {"questions": 10, "ex": 0.3, "em": 0.3}
    assert (document["golds_empty"], document["ceiling"]) == (1, 1)
    assert document["ex_gold_not_empty"] == pytest.approx(2 / 9, abs=1e-6)
    ex = document["other_mode"][0]
    assert (ex["metric"], ex["other_score"]) == ("ex", 0.3)
    assert (ex["only_here"], ex["only_there"]) == ([2], [9])
    assert ex["causes"] == {"distinct_removed": 1, "value_replaced": 1}
    assert sum(group["questions"] for group in document["by_hardness"].values()) == 10
    assert document["metric_version"].startswith("sense-benchmark/")


def test_the_table_says_it_in_words(evaluate: Evaluate) -> None:
    out = evaluate().out
    assert "EX 30.00, EM 30.00 over 10 questions." in out
    assert "Every gold runs: the ceiling is 100." in out
    assert "takes every DISTINCT out of both (1)" in out
    assert "\nwrong order" in out


def test_two_runs_give_the_same_bytes(evaluate: Evaluate, files: Files) -> None:
    evaluate("--html", files.out / "r.html")
    first = [(files.out / name).read_bytes() for name in ("r.json", "q.jsonl", "r.html")]
    evaluate("--html", files.out / "r.html", "--children", 1)
    assert [(files.out / name).read_bytes() for name in ("r.json", "q.jsonl", "r.html")] == first


def test_strict_mode_scores_by_strict_rules(evaluate: Evaluate, files: Files) -> None:
    evaluate("--mode", "strict", "--no-both")
    assert [line["ex"] for line in files.lines()] == [row[3] for row in ROWS]
    assert all(line["other_mode"] == {} for line in files.lines())


def test_html_shows_losses_inert(evaluate: Evaluate, files: Files) -> None:
    write(files, [("SELECT name FROM singer", "SELECT '<script>alert(1)</script>'")])
    evaluate("--html", files.out / "r.html")
    page = (files.out / "r.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http://" not in page and "https://" not in page


def test_the_options_of_the_official_evaluator(evaluate: Evaluate, files: Files) -> None:
    write(files, [("SELECT age FROM singer", "SELECT DISTINCT age FROM singer")])
    evaluate("--keep-distinct", "--no-both")
    assert files.lines()[0]["ex"] == 0
    write(files, [("SELECT name FROM singer WHERE age = 41", "SELECT name FROM singer WHERE age = 40")])
    evaluate("--no-both")
    assert files.lines()[0]["ex"] == 0
    evaluate("--plug-value", "--no-both")
    assert files.lines()[0]["ex"] == 1


def test_golds_that_fail_lower_the_ceiling(evaluate: Evaluate, files: Files) -> None:
    write(files, [("SELECT name FROM singer", "SELECT name FROM singer"), ("SELECT nam FROM singer", "SELECT 1")])
    out = evaluate().out
    assert "1 golds do not run (questions 1): no prediction can score above 50.00." in out
    assert files.document()["golds_failed"] == [1]


def test_a_runaway_ends_as_a_timeout(evaluate: Evaluate, files: Files) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
    write(files, [("SELECT name FROM singer", endless), ("SELECT name FROM singer", "SELECT name FROM singer")])
    evaluate("--deadline", 0.3)
    assert [(line["ex"], line["failure"]) for line in files.lines()] == [(0, "timeout"), (1, "correct")]


def test_bird_files_and_metrics(evaluate: Evaluate, files: Files) -> None:
    separator = "\t----- bird -----\tmusic"
    files.gold.write_text("SELECT name, age FROM singer\tmusic\nSELECT age FROM singer\tmusic\nSELECT 1\tmusic\n")
    answers = ["SELECT age, name FROM singer", "SELECT DISTINCT age FROM singer", "SELECT 2"]
    files.pred.write_text(json.dumps({str(n): f"{sql}{separator}" for n, sql in enumerate(answers)}))
    ended = evaluate("--metrics", "ex,f1,ves,rves", "--ves-runs", 5, benchmark="bird")
    assert ended.code == 0, ended.err
    lines = files.lines()
    assert [line["ex"] for line in lines] == [0, 1, 0]
    assert [line["other_mode"]["ex"] for line in lines] == [1, 0, 0]
    assert [line["f1"] for line in lines] == [1, 1, 0]
    assert lines[1]["rves"] >= 50 and lines[1]["ves"] > 0
    assert lines[0]["ves"] == lines[0]["rves"] == 0


def test_birds_question_file_gives_difficulties(evaluate: Evaluate, files: Files) -> None:
    entry = {"db_id": "music", "SQL": "SELECT 1", "difficulty": "challenging"}
    files.gold.write_text(json.dumps([entry, {**entry, "db_id": "absent"}]))
    files.pred.write_text(
        json.dumps({"0": "SELECT 1\t----- bird -----\tmusic", "1": "SELECT 1\t----- bird -----\tabsent"})
    )
    refused = evaluate(benchmark="bird")
    assert (refused.code, "absent" in refused.err, "--lenient" in refused.err) == (2, True, True)
    assert evaluate("--lenient", benchmark="bird").code == 0
    assert [(line["hardness"], line["ex"]) for line in files.lines()] == [("challenging", 1)]
    assert any("absent" in problem for problem in files.document()["problems"])


@pytest.mark.parametrize(
    ("gold", "pred", "named"),
    [
        ("SELECT 1\tmusic\nSELECT 2\tmusic\n", "SELECT 1\n", "1 predictions for the 2 golds"),
        ("SELECT 1\tmusic\nSELECT 2\tmusic\n", "SELECT 1\n\nSELECT 2\n", "pred.sql, line 2"),
        ("SELECT 1\tmusic\nSELECT 2\n", "SELECT 1\nSELECT 2\n", "gold.sql, line 2"),
        ("SELECT 1\tmusik\n", "SELECT 1\n", "did you mean 'music'"),
        ("\ufeffSELECT 1\tmusic\n", "SELECT 1\n", "byte order mark"),
        ("", "SELECT 1\n", "gold.sql is empty"),
    ],
)
def test_bad_files_are_named_with_their_line(
    evaluate: Evaluate, files: Files, gold: str, pred: str, named: str
) -> None:
    files.gold.write_text(gold)
    files.pred.write_text(pred)
    ended = evaluate()
    assert (ended.code, ended.out) == (2, "")
    assert named in ended.err
    assert not (files.out / "r.json").exists()


def test_lenient_scores_the_rest(evaluate: Evaluate, files: Files) -> None:
    files.gold.write_text("SELECT 1\tmusic\nSELECT 2\tmusic\nSELECT 3\tmusik\n")
    files.pred.write_bytes(b"SELECT 1\r\n\r\nSELECT 3\r\n")
    ended = evaluate("--lenient")
    assert ended.code == 0, ended.err
    assert [(line["index"], line["ex"]) for line in files.lines()] == [(0, 1), (1, 0)]
    assert "pred.sql, line 2" in ended.out


def test_bad_options_are_2_before_anything_runs(sense: Sense, evaluate: Evaluate, files: Files, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "tables.json").write_text("[{]")
    for words in (
        ("--metrics", "ex,f1"),
        ("--metrics", ","),
        ("--mode", "fair"),
        ("--db", tmp_path / "absent"),
        ("--db", tmp_path / "nothing"),
        ("--db", files.gold),
        ("--gold", tmp_path / "absent.sql"),
        ("--deadline", 0),
        ("--deadline", "nan"),
        ("--html", tmp_path / "absent" / "r.html"),
        ("--tables", tmp_path / "tables.json"),
    ):
        ended = evaluate(*words)
        assert (ended.code, ended.out) == (2, ""), words
        assert "Traceback" not in ended.err
    assert evaluate(benchmark="wikisql").code == 2


def test_compare_two_files(sense: Sense, evaluate: Evaluate, files: Files) -> None:
    evaluate("--no-both")
    (files.out / "q.jsonl").rename(files.out / "mine.jsonl")
    write(files, [(row[0], row[0]) for row in ROWS])
    evaluate("--no-both")
    ended = sense("compare", files.out / "q.jsonl", files.out / "mine.jsonl", "--json")
    found = json.loads(ended.out)
    assert found["left_score"] == 0.9
    assert found["paired"]["won"] == [1, 3, 4, 6, 7, 8]
    assert found["paired"]["lost"] == []
    assert "6 won, 0 lost" in sense("compare", files.out / "q.jsonl", files.out / "mine.jsonl").out
    assert sense("compare", files.out / "q.jsonl", files.out / "mine.jsonl", "--metric", "ts").code == 2
    assert sense("compare", files.out / "q.jsonl", files.gold).code == 2
    write(files, [("SELECT 5", "SELECT 5")])
    evaluate("--no-both")
    other = sense("compare", files.out / "q.jsonl", files.out / "mine.jsonl")
    assert (other.code, "another gold" in other.err) == (2, True)


def test_a_suite_takes_away_what_is_right_by_chance(sense: Sense, evaluate: Evaluate, files: Files) -> None:
    write(
        files,
        [
            ("SELECT name FROM singer WHERE age > 30", "SELECT name FROM singer WHERE age > 31"),
            ("SELECT name FROM singer WHERE age > 30", "SELECT name FROM singer WHERE NOT age <= 30"),
        ],
    )
    suite = files.out / "suite"
    built = sense("suite", "build", "--gold", files.gold, "--db", files.db, "--out", suite, "--pred", files.pred)
    assert built.code == 0, built.err
    assert len(list((suite / "music").iterdir())) == 9
    ended = evaluate("--db", suite, "--metrics", "ex,ts")
    assert [(line["ex"], line["ts"]) for line in files.lines()] == [(1, 0), (1, 1)]
    assert "it is not the official test suite accuracy" in " ".join(ended.out.split())
    again = sense("suite", "build", "--gold", files.gold, "--db", files.db, "--out", suite)
    assert (again.code, "not empty" in again.err) == (2, True)


def test_a_folder_with_many_files_is_a_test_suite(evaluate: Evaluate, files: Files) -> None:
    connection = sqlite3.connect(files.db / "music" / "music_2.sqlite")
    connection.executescript(SCHEMA + "UPDATE singer SET age = 31 WHERE id = 2;")
    connection.close()
    write(files, [("SELECT name FROM singer WHERE age > 30", "SELECT name FROM singer WHERE age > 31")])
    evaluate("--metrics", "ex,ts")
    assert [(line["ex"], line["ts"]) for line in files.lines()] == [(1, 0)]


@needs_data
@pytest.mark.parametrize(
    ("name", "words", "ex", "em"),
    [
        ("din_sql_gpt4", (), 854, 621),
        ("din_sql_gpt4", ("--keep-distinct",), 843, None),
        ("din_sql_gpt4", ("--plug-value",), 890, None),
        ("graphix_t5_3b", (), 836, 797),
    ],
)
def test_the_official_scores_of_spider_dev(
    sense: Sense, tmp_path: Path, name: str, words: tuple[str, ...], ex: int, em: int | None
) -> None:
    spider = DATA / "spider"
    paths = ("--gold", spider / "dev_gold.sql", "--pred", DATA / f"predictions/spider_dev/{name}.sql")
    where = ("--db", spider / "database", "--tables", spider / "tables.json", "--per-question", tmp_path / "q.jsonl")
    ended = sense("evaluate", "--benchmark", "spider", *paths, *where, "--no-both", "--deadline", 60, *words)
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert sum(line["ex"] for line in lines) == ex
    if em is not None:
        assert sum(line["em"] for line in lines) == em
        assert [line["hardness"] for line in lines] == read_json("predictions/spider_dev/official_verdicts.json")[
            "hardness"
        ]
