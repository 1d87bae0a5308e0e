"""Answers of a strong model: what is forgiven, and what is refused with a reason."""

import random

import pytest

from services.synthesis.llm_writer import share_levels
from services.synthesis.parse import UnparsableError, parse_answer, read_script, split_statements
from services.synthesis.seeds import draw_seeds, show_seed

PLAIN = """Domain: bakeries
Schema:
CREATE TABLE bread(id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO bread VALUES (1, 'rye'), (2, 'oat; with seeds');
Question: Which breads are there?
Answer: SELECT name FROM bread"""
FENCED = """Here is a new data point.

**Domain:** Bakeries.

**Schema:**
```sql
-- the breads; all of them
CREATE TABLE bread(id INTEGER PRIMARY KEY, name TEXT);
/* rows */ INSERT INTO bread VALUES (1, 'rye'), (2, 'oat; with seeds');
```

**Question:** Which breads
are there?

**Answer:**
```sql
SELECT name FROM bread;
```
I hope this helps!"""
HEADED = """## 1. DOMAIN: bakeries
## 2. SCHEMA:
```
CREATE TABLE bread(id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO bread VALUES (1, 'rye'), (2, 'oat; with seeds');
```
## 3. QUESTION: Which breads are there?
## 4. ANSWER: SELECT name FROM bread"""


@pytest.mark.parametrize("text", [PLAIN, FENCED, HEADED, PLAIN.replace("\n", "\r\n")])
def test_forms_that_mean_the_same_read_the_same(text: str) -> None:
    parsed = parse_answer(text)
    assert parsed.domain.lower() == "bakeries"
    assert parsed.question == "Which breads are there?"
    assert parsed.sql == "SELECT name FROM bread"
    assert parsed.script.ddl == ["CREATE TABLE bread(id INTEGER PRIMARY KEY, name TEXT)"]
    assert parsed.script.inserts == ["INSERT INTO bread VALUES (1, 'rye'), (2, 'oat; with seeds')"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lacks domain, schema, question, answer"),
        ("I cannot help with that.", "lacks domain"),
        (PLAIN.replace("Question: Which breads are there?\n", ""), "lacks question"),
        (PLAIN.replace("SELECT name FROM bread", ""), "lacks answer"),
        (PLAIN.replace("SELECT name FROM bread", "there is none"), "no SELECT"),
        (PLAIN.replace("CREATE TABLE", "MAKE TABLE"), "no CREATE TABLE"),
        (PLAIN.replace("INSERT INTO", "PUT INTO"), "no INSERT"),
    ],
)
def test_what_holds_no_example_says_why(text: str, reason: str) -> None:
    with pytest.raises(UnparsableError, match=reason):
        parse_answer(text)


def test_the_first_heading_of_a_name_counts() -> None:
    assert parse_answer(PLAIN + "\nAnswer: SELECT 2\n").sql == "SELECT name FROM bread"


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
    ],
)
def test_statements_end_at_semicolons_outside_quotes(text: str, expected: list[str]) -> None:
    assert split_statements(text) == expected


def test_a_comment_before_a_statement_hides_nothing() -> None:
    text = "-- first\nCREATE TABLE a(x);\n/* second */\n-- and\nCREATE TABLE b(x);\n-- rows\nINSERT INTO a VALUES (1);"
    script = read_script(text)
    assert script.ddl == ["CREATE TABLE a(x)", "CREATE TABLE b(x)"]
    assert script.inserts == ["INSERT INTO a VALUES (1)"]


def test_seeds_shown_to_the_model_are_in_the_form_that_is_read() -> None:
    rng = random.Random(3)
    for _ in range(10):
        for seed in draw_seeds(rng):
            parsed = parse_answer(show_seed(seed))
            assert (parsed.domain, parsed.question, parsed.sql) == (seed.domain, seed.question, seed.sql)
            assert seed.database is not None
            assert len(parsed.script.ddl) == len(seed.database.ddl)
            assert len(parsed.script.inserts) == len(seed.database.inserts)


def test_levels_are_shared_evenly_all_along() -> None:
    levels = share_levels({"easy": 0.5, "medium": 0.3, "hard": 0.2}, 100)
    assert [levels.count(name) for name in ("easy", "medium", "hard")] == [50, 30, 20]
    assert set(levels[:5]) == {"easy", "medium", "hard"}
    assert share_levels({"easy": 0, "hard": 2}, 3) == ["hard"] * 3
    assert share_levels({"easy": 1}, 0) == []
