"""Question and SQL: literals that only one of them has, and all that is forgiven."""

import pytest

from services.synthesis.writers.grammar.writer import write_examples
from services.synthesis.writers.handwritten import load_handwritten
from shared.sql.agreement import find_disagreement
from shared.sql.english import split_words, spoken_numbers
from tests.support.benchmarks import needs_data, read_json


@pytest.mark.parametrize(
    ("question", "sql"),
    [
        ("How many singers are older than thirty five?", "SELECT count(*) FROM s WHERE age > 35"),
        ("Which city has more than one station?", "SELECT city FROM s GROUP BY city HAVING count(*) >= 2"),
        ("Who earns over 1,000,000?", "SELECT name FROM e WHERE pay > 1000000"),
        ("Companies with profit above 2 million?", "SELECT name FROM c WHERE profit > 2000000"),
        ("Names of cancelled orders", "SELECT id FROM orders WHERE status = 'cancel'"),
        ("Flights from the United States", "SELECT id FROM flight WHERE origin = 'US'"),
        ("Which students are female?", "SELECT name FROM student WHERE sex = 'F'"),
        ("Orders placed in March 2019", "SELECT id FROM o WHERE day BETWEEN '2019-03-01' AND '2019-03-31'"),
        ("Singers whose name has 'Hey' in it", "SELECT name FROM s WHERE song LIKE '%Hey%'"),
        ("Monthly totals for 2020", "SELECT strftime('%m', day), sum(x) FROM o WHERE strftime('%Y', day) = '2020'"),
        ("The cheapest product?", "SELECT name FROM p ORDER BY price LIMIT 1"),
        ("The twice married", "SELECT name FROM p WHERE marriages = 2"),
    ],
)
def test_what_a_reader_would_accept_passes(question: str, sql: str) -> None:
    assert find_disagreement(question, sql) is None


@pytest.mark.parametrize(
    ("question", "sql", "side", "literal"),
    [
        ("How many singers are older than 35?", "SELECT count(*) FROM s WHERE age > 53", "SQL", "53"),
        ("Pets that are dogs", "SELECT name FROM pets WHERE kind = 'cat'", "SQL", "cat"),
        ("Flights to 'Oslo'", "SELECT id FROM flight", "question", "Oslo"),
        ("The 5 largest cities", "SELECT name FROM city ORDER BY size DESC LIMIT 10", "SQL", "10"),
        ("Schools founded after 1900", "SELECT name FROM school", "question", "1900"),
    ],
)
def test_a_literal_of_one_side_alone_is_named(question: str, sql: str, side: str, literal: str) -> None:
    found = find_disagreement(question, sql)
    assert found is not None and (found.side, found.literal) == (side, literal)
    assert literal in str(found)


def test_evidence_speaks_for_the_question() -> None:
    sql = "SELECT count(*) FROM s WHERE pct > 0.75 AND kind = 'magnet'"
    assert find_disagreement("How many excel?", sql) is not None
    assert find_disagreement("How many excel?", sql, "to excel means magnet schools with pct > 0.75") is None


def test_numbers_in_words() -> None:
    assert {25.0, 3000.0, 12.0, 2.0} <= spoken_numbers(split_words("twenty-five, 3 thousand, a dozen and both"))


@pytest.mark.parametrize("text", ["", "'", '"', "?", "''''", "\x00", "漢字 'é'", "9" * 400])
def test_any_text_is_read(text: str) -> None:
    find_disagreement(text, text)


def test_our_own_writers_agree() -> None:
    levels = {"easy": 1.0, "medium": 1.0, "hard": 1.0}
    written = write_examples(seed=3, split="train", shard=0, count=60, levels=levels)  # type: ignore[arg-type]
    wrong = [one for one in [*written, *load_handwritten()] if find_disagreement(one.question, one.sql, one.evidence)]
    assert not wrong


@needs_data
def test_little_of_spider_train_is_refused() -> None:
    rows = read_json("spider/train_spider.min.json")[::5]
    wrong = sum(find_disagreement(row["question"], row["query"]) is not None for row in rows)
    assert wrong / len(rows) <= 0.02
