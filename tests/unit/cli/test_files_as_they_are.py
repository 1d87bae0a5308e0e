"""Gold, prediction and database files as people have them: what is wrong is said, and never scored in silence."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.benchmarks.oddities import oddities
from services.benchmarks.prediction_files import PredictionPair
from tests.unit.cli.conftest import Ended, Sense

SCRIPT = """
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, country TEXT);
INSERT INTO customers VALUES (1,'Ana','France'),(2,'Bo','Norway'),(3,'Cy','France');
"""
GOLDS = ["SELECT count(*) FROM customers", "SELECT name FROM customers WHERE country = 'France'"]
BIRD = "\t----- bird -----\t"


def make_database(path: Path, script: str = SCRIPT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


Evaluate = Callable[..., Ended]


@pytest.fixture
def evaluate(sense: Sense, tmp_path: Path) -> Evaluate:
    """Runs `sense evaluate` on lists of golds (SQL, db_id) and a prediction file's content."""
    make_database(tmp_path / "db/shop/shop.sqlite")

    def run(predictions: str | bytes, *words: object, golds: Any = None, benchmark: str = "spider") -> Ended:
        gold, pred = tmp_path / "gold.sql", tmp_path / "pred.sql"
        gold.write_text("".join(f"{sql}\t{name}\n" for sql, name in golds or [(sql, "shop") for sql in GOLDS]))
        pred.write_bytes(predictions if isinstance(predictions, bytes) else predictions.encode())
        files = ("--gold", gold, "--pred", pred, "--db", tmp_path / "db", "--json", tmp_path / "r.json")
        outputs = ("--per-question", tmp_path / "q.jsonl")
        return sense("evaluate", "--benchmark", benchmark, *files, *outputs, *words)

    return run


def result(folder: Path) -> Any:
    return json.loads((folder / "r.json").read_text())


SPOILT = {
    "fences": (["```sql {}```"] * 2, "2 of 2 predictions stand in a code fence"),
    "fences, closed only": (["{} ```"] * 2, "code fence"),
    "tildes": (["~~~ {} ~~~"] * 2, "code fence"),
    "labels": (["SQL: {}"] * 2, "begin with a label"),
    "answers": (["**Answer:** {}", "Final SQL query: {}"], "begin with a label"),
    "numbers": (["1. {}", "2) {}"], "begin with a number"),
    "a column of numbers": (["0\t{}", "1\t{}"], "begin with a number"),
    "quotes": (['"{}"', '"{}"'], "stand in quotes"),
    "thoughts": (["<think>a join?</think> {}", "[THINK]no[/THINK]{}"], "hold a model's thoughts"),
    "thoughts of others": (["<reasoning>a join</reasoning> {}", "◁think▷no◁/think▷{}"], "hold a model's thoughts"),
    "tokens": (["{}<|im_end|>", "{}</s>"], "control tokens"),
    "JSON lines": (['{{"sql": "{}"}}'] * 2, "are JSON"),
    "SELECT alone": (["SELECT"] * 2, "are the word SELECT alone"),
    "marks of nothing": (["None", "nan"], "a mark of a missing answer"),
    "prose": (["The answer is: {}", "I would use {}"], "do not begin with SELECT"),
    "names": (["{} LIMIT 9 shop"] * 2, "end with their database's name"),
    "escapes": (["SELECT 1 AS one,\\n 2", "SELECT\\n 1"], "hold escapes"),
    "HTML": (["SELECT 1 WHERE 1 &lt; 2"] * 2, "HTML's escapes"),
    "another file": (["SELECT a FROM elsewhere", "SELECT b FROM nowhere"], "are the predictions in the gold's order?"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_file_has_its_official_score_and_one_sentence(evaluate: Evaluate, tmp_path: Path, name: str) -> None:
    lines, said = SPOILT[name]
    ended = evaluate("".join(f"{line.format(gold)}\n" for line, gold in zip(lines, GOLDS, strict=True)))
    assert ended.code == 0, ended.err
    assert result(tmp_path)["overall"]["ex"] == 0
    (noticed,) = [one for one in result(tmp_path)["problems"] if one.startswith("pred.sql: ")]
    assert said in noticed
    assert " ".join(said.split()) in " ".join(ended.out.split())


def test_one_text_for_all_questions_is_told(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate("SELECT 1\n" * 3, golds=[(f"SELECT {n} FROM customers", "shop") for n in range(3)]).code == 0
    assert "all 3 predictions are the same" in result(tmp_path)["problems"][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps({"0": GOLDS[0], "1": GOLDS[1]}), "this is one JSON document"),
        (json.dumps(GOLDS, indent=1), "this is one JSON document"),
        ("SELECT count(*)\nFROM customers\nSELECT 1\n", "stretch over several lines"),
    ],
)
def test_a_file_of_another_form_is_named(evaluate: Evaluate, content: str, said: str) -> None:
    ended = evaluate(content)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_good_predictions_are_no_oddity() -> None:
    texts = [
        "SELECT name FROM shop",
        "with t as (select 1) select * from t;",
        "(SELECT 1)",
        "SELECT '```' || '<b>' AS fence",
        "SELECT \"query\" FROM answers WHERE sql = 'x'",
        "VALUES (1)",
        "SELECT 'a&amp;b', '\\n', 12",
        "  select 1",
    ]
    assert oddities([PredictionPair(n, "shop", "SELECT 1", text) for n, text in enumerate(texts)]) == []


def test_reading_a_long_prediction_takes_no_time() -> None:
    texts = [
        "1" + " " * 100_000 + "x",
        "```" * 50_000,
        "SQL" + " " * 100_000,
        "(" * 100_000,
        "<|" * 50_000,
        "&" * 99_999,
    ]
    assert oddities([PredictionPair(n, "shop", "SELECT 1", text) for n, text in enumerate(texts)])


QIDS = [("471", f"{GOLDS[0]}{BIRD}shop"), ("1028", f"{GOLDS[1]}{BIRD}shop")]


@pytest.mark.parametrize("words", [(), ("--lenient",)])
def test_answers_keyed_by_question_ids_go_by_the_files_order(
    evaluate: Evaluate, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """As the official loop does, which never reads the keys."""
    ended = evaluate(json.dumps(dict(QIDS)), *words, benchmark="bird")
    assert ended.code == 0, ended.err
    assert result(tmp_path)["overall"]["ex"] == 1
    assert "the keys (471 to 1028) are no places from 0" in result(tmp_path)["problems"][0]


@pytest.mark.parametrize("order", [1, -1])
def test_ids_of_the_question_file_lead_each_answer_home(
    sense: Sense, evaluate: Evaluate, tmp_path: Path, order: int
) -> None:
    evaluate("SELECT 1\nSELECT 1\n")
    questions = [
        {"question_id": int(key), "db_id": "shop", "SQL": gold, "difficulty": "simple"}
        for (key, _), gold in zip(QIDS, GOLDS, strict=True)
    ]
    (tmp_path / "dev.json").write_text(json.dumps(questions))
    (tmp_path / "qid.json").write_text(json.dumps(dict(QIDS[::order])))
    files = ("--gold", tmp_path / "dev.json", "--pred", tmp_path / "qid.json", "--db", tmp_path / "db")
    ended = sense("evaluate", "--benchmark", "bird", *files, "--json", tmp_path / "r.json")
    assert ended.code == 0, ended.err
    assert result(tmp_path)["overall"]["ex"] == 1
    assert ("which is another" in ended.out) == (order == -1)


def spoil(path: Path, how: str) -> None:
    """A database as a broken download, a full disk or another program left it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "empty":
        path.write_bytes(b"")
        return
    filler = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) "
    make_database(path, f"{SCRIPT} CREATE TABLE t(a); {filler} INSERT INTO t SELECT hex(randomblob(50)) FROM n;")
    data = path.read_bytes()
    damaged = {
        "cut": data[: len(data) // 2],
        "pages overwritten": data[:8192] + b"\xff" * (len(data) - 8192),
        "schema overwritten": data[:100] + b"\xff" * 3996 + data[4096:],
        "not a database": b"<html>404</html>" * 100,
    }
    path.write_bytes(damaged[how])


DAMAGE = ["cut", "empty", "pages overwritten", "schema overwritten", "not a database"]


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("benchmark", ["spider", "bird"])
def test_a_damaged_database_costs_its_own_questions_where_lenient(
    evaluate: Evaluate, tmp_path: Path, how: str, benchmark: str
) -> None:
    spoil(tmp_path / "db/cut/cut.sqlite", how)
    golds = [(GOLDS[0], "shop"), ("SELECT count(a) FROM t", "cut"), (GOLDS[1], "shop")]
    answers = {str(n): f"{sql}{BIRD}{name}" for n, (sql, name) in enumerate(golds)}
    predictions = json.dumps(answers) if benchmark == "bird" else "".join(f"{sql}\n" for sql, _ in golds)
    refused = evaluate(predictions, golds=golds, benchmark=benchmark)
    assert (refused.code, refused.out) == (2, "")
    assert "cut.sqlite" in refused.err
    ended = evaluate(predictions, "--lenient", golds=golds, benchmark=benchmark)
    assert ended.code == 0, ended.err
    found = result(tmp_path)
    assert (found["overall"]["questions"], found["overall"]["ex"]) == (2, 1)
    assert [json.loads(line)["index"] for line in (tmp_path / "q.jsonl").read_text().split("\n")[:-1]] == [0, 2]
    (told,) = [one for one in found["problems"] if "'cut'" in one]
    assert "1 questions" in told and "left out" in told and "cut.sqlite" in told


@pytest.mark.parametrize("how", DAMAGE)
def test_so_it_is_at_an_import(sense: Sense, tmp_path: Path, how: str) -> None:
    make_database(tmp_path / "databases/shop/shop.sqlite")
    spoil(tmp_path / "databases/cut/cut.sqlite", how)
    rows = [
        ("How many?", GOLDS[0], "shop"),
        ("How many a?", "SELECT count(a) FROM t", "cut"),
        ("Who?", GOLDS[1], "shop"),
    ]
    lines = [json.dumps({"question": text, "sql": sql, "db": db}) for text, sql, db in rows]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    refused = sense("import", "custom", tmp_path / "q.jsonl", "--check")
    assert (refused.code, refused.out) == (2, "")
    assert "cut.sqlite" in refused.err and "--lenient" in refused.err
    ended = sense("import", "custom", tmp_path / "q.jsonl", "--check", "--lenient", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["questions"], found["skipped"], found["ceiling"]) == (2, {"cut": 1}, 1.0)
    assert "cut.sqlite" in found["notes"][0]


def test_what_systems_leave_in_folders_is_no_database(evaluate: Evaluate, sense: Sense, tmp_path: Path) -> None:
    for name in ("._shop.sqlite", ".DS_Store", "shop.sqlite-shm"):
        (tmp_path / "db/shop" / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "db/__MACOSX/shop").mkdir(parents=True)
    (tmp_path / "db/__MACOSX/shop/._shop.sqlite").write_bytes(b"\0\5\x16\7")
    (tmp_path / "db/._shop").write_bytes(b"\0\5\x16\7")
    make_database(tmp_path / "db/flat.SQLITE3")
    golds = [(GOLDS[0], "shop"), (GOLDS[1], "flat")]
    ended = evaluate("\n".join(GOLDS), "--metrics", "ex,ts", golds=golds)
    assert ended.code == 0, ended.err
    assert result(tmp_path)["overall"]["ts"] == 1
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "How many?", "sql": GOLDS[0], "db": "shop"}))
    assert sense("import", "custom", tmp_path / "q.jsonl", "--db", tmp_path / "db", "--check").code == 0


def test_a_folder_too_high_and_a_name_in_capitals_are_told(evaluate: Evaluate, sense: Sense, tmp_path: Path) -> None:
    assert "did you mean 'shop'" in evaluate("\n".join(GOLDS), golds=[(sql, "SHOP") for sql in GOLDS]).err
    shutil.copytree(tmp_path / "db", tmp_path / "high/above/database")
    ended = evaluate("\n".join(GOLDS), "--db", tmp_path / "high")
    assert (ended.code, "high/above/database has some" in ended.err) == (2, True)


ENCODED = {
    "utf-8 with a mark": ("utf-8-sig", "byte order mark"),
    "utf-16": ("utf-16", "UTF-16"),
    "utf-16 without a mark": ("utf-16-le", "NUL"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_other_encodings_are_named(evaluate: Evaluate, name: str) -> None:
    encoding, said = ENCODED[name]
    ended = evaluate("\n".join(GOLDS).encode(encoding))
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("whole", [True, False])
def test_questions_in_any_encoding_with_any_line_ends(
    sense: Sense, tmp_path: Path, encoding: str, end: str, whole: bool
) -> None:
    make_database(tmp_path / "shop.sqlite")
    asked = ["Who\u2028is from\u0085France?", "How\u2029many?"]
    rows = [{"question": text, "sql": sql, "db": "shop"} for text, sql in zip(asked, GOLDS[::-1], strict=True)]
    text = (
        json.dumps(rows, ensure_ascii=False) if whole else end.join(json.dumps(row, ensure_ascii=False) for row in rows)
    )
    (tmp_path / "q.jsonl").write_bytes(text.encode(encoding))
    ended = sense("import", "custom", tmp_path / "q.jsonl", "--check", "--json")
    assert (ended.code, json.loads(ended.out)["questions"]) == (0, 2), ended.err


def test_compare_reads_what_evaluate_wrote(evaluate: Evaluate, sense: Sense, tmp_path: Path) -> None:
    odd = "a\u2028b\u0085c\x0bd\x0ce\x1cf"
    make_database(tmp_path / "db/lines/lines.sqlite", f"CREATE TABLE t(a); INSERT INTO t VALUES ('{odd}');")
    assert evaluate("SELECT a FROM t\n", golds=[("SELECT a FROM t", "lines")]).code == 0
    ended = sense("compare", tmp_path / "q.jsonl", tmp_path / "q.jsonl")
    assert ended.code == 0, ended.err


def test_what_a_score_depends_on_is_said(evaluate: Evaluate, tmp_path: Path) -> None:
    golds = [("SELECT date('now'), count(*) FROM customers", "shop"), (GOLDS[0], "shop"), (GOLDS[1], "shop")]
    predictions = [golds[0][0], "SELECT count(*) FROM customers ORDER BY random()", GOLDS[1]]
    ended = evaluate("\n".join(predictions), golds=golds)
    found = result(tmp_path)
    assert found["overall"]["ex"] == pytest.approx(2 / 3)
    assert found["depends_on"] == {"clock": [0], "our_limits": [1]}
    assert found["sqlite"] and f"Run by SQLite {found['sqlite']}" in ended.out
    said = " ".join(ended.out.split())
    assert "1 of 3 questions ask what time it is" in said and "they are undecided" in said


def test_an_evaluation_has_sqlites_own_limits(evaluate: Evaluate, tmp_path: Path) -> None:
    """The official evaluators run these; so deep, wide and long as SQLite takes them by default."""
    wide = GOLDS[0] + " UNION ALL SELECT 1" * 450
    deep = f"SELECT count(*) + {'+'.join(['0'] * 900)} FROM customers"
    long = f"SELECT count(*) FROM customers WHERE name NOT LIKE '{'%a' * 20_000}' OR 1"
    golds = [(sql, "shop") for sql in (wide, deep, long)]
    assert evaluate("\n".join(sql for sql, _ in golds), golds=golds).code == 0
    assert (result(tmp_path)["overall"]["ex"], result(tmp_path)["depends_on"]) == (1, {})


def test_golds_that_ask_the_time_are_told_at_the_import(sense: Sense, tmp_path: Path) -> None:
    make_database(tmp_path / "shop.sqlite")
    sqls = ["SELECT CAST(julianday('now') AS INTEGER) FROM customers", GOLDS[0]]
    lines = [json.dumps({"question": f"Question {n}?", "sql": sql, "db": "shop"}) for n, sql in enumerate(sqls)]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    assert "golds that ask what time it is: 1 (0)" in sense("import", "custom", tmp_path / "q.jsonl", "--check").out
