"""Readers of what models and users write come back in time, whatever they are given: 10 KB of any of these texts."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest

from services.benchmarks.judging import tokens_of
from services.pairing.collect import estimate_tokens
from services.pairing.policies import token_distance
from services.sandbox.building.databases import split_script
from services.sandbox.building.filling import allowed_values, read_conditions, satisfying_value, unique_columns
from services.sandbox.execution.sql_text import has_outer_order_by, is_blank, one_line
from services.sandbox.intake.describe import read_comments
from services.sandbox.test_suites.validity import outline, tie_probes
from services.synthesis.gates.review import read_verdict
from services.synthesis.writers.llm_answers import AnswerError, parse_answer
from services.synthesis.writers.sql_scripts import read_script
from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from shared.errors import SenseError
from shared.sql.agreement import find_disagreement
from shared.sql.completion import extract_reasoning
from shared.sql.extraction import extract_sql
from shared.sql.features import features_from_words
from shared.sql.prompt import SHORTENINGS, shorten_text
from shared.sql.spider.hardness import card_hardness
from shared.sql.tokens import normalize_sql, sql_shape
from tests.support.deadline import within

SIZE = 10_000
DEADLINE_S = 240.0
UNITS = (
    *"* _-#>(['\"`\n;,:.{<a0",
    *(
        "\n\n \t",
        "/*",
        "--\n",
        "''",
        "**_",
        "(a ",
        "a,",
        "1,'",
        "[[",
        ") ",
        "```\n",
        "~~~sql\n",
        "{}",
        "SELECT ",
        "WITH a ",
    ),
    *(
        "\nCREATE",
        "\nSET ON",
        " COMMENT ",
        "\nQuestion: ",
        "<sql>",
        "</think>",
        "question ",
        "a) ",
        ", KEY a(",
        "ENUM('a',",
    ),
    *("UNIQUE ", "CHECK(", ", a b UNIQUE", " a.b = 'c' AND", "\n/* first rows:\na\n", "'a' ", "and ", "INT "),
)
BEGINS = (
    "",
    "SELECT ",
    "Question: a\nSQL: SELECT ",
    "CREATE TABLE t (a ",
    "CREATE TABLE t (a INT) ",
    "INSERT INTO t VALUES ('",
)
TEXTS = [begin + unit * (SIZE // len(unit)) for begin in BEGINS for unit in UNITS]


def card(ddl: str) -> TableCard:
    return TableCard(name="t", ddl=ddl, columns=[ColumnCard(name="a", type="INT")], row_count=0)


SCHEMA = SchemaCard(database_id="0" * 64, tables=[card("CREATE TABLE t (a INT)")])
READERS: dict[str, Callable[[str], Any]] = {
    "answer": parse_answer,
    "own_answer": lambda text: parse_answer(text, for_user_database=True),
    "script": read_script,
    "split": split_script,
    "verdict": read_verdict,
    "reasoning": extract_reasoning,
    "extract": extract_sql,
    "extract_last": lambda text: extract_sql(text, last=True),
    "words": features_from_words,
    "hardness": lambda text: card_hardness(text, SCHEMA),
    "shorten": lambda text: [shorten_text(text, step) for step in SHORTENINGS],
    "shape": sql_shape,
    "style": normalize_sql,
    "disagreement": lambda text: find_disagreement(text[:2000], text),
    "question": lambda text: find_disagreement(text, "SELECT a FROM t WHERE b = 'c d e' AND f = 17"),
    "distance": lambda text: token_distance(text[:20_000], text[1:20_000]),
    "length": estimate_tokens,
    "comments": read_comments,
    "unique": lambda text: unique_columns(card(text)),
    "limits": lambda text: allowed_values(card(text)),
    "outline": outline,
    "probes": lambda text: tie_probes(text, 3),
    "order_by": has_outer_order_by,
    "one_line": one_line,
    "only_blank": is_blank,
    "plug": tokens_of,
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_comes_back(name: str) -> None:
    def read_all() -> int:
        for text in TEXTS:
            with contextlib.suppress(SenseError, AnswerError):
                READERS[name](text)
        return len(TEXTS)

    assert within(DEADLINE_S, read_all) == len(TEXTS)


NUMBERS = ("9" * 400, "9" * 5000, "1.2.3", "1e999", "-" + "1" * 30, "²", "٣", ".5", "0x1F", "1_0")


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
def test_no_number_stops_a_reader(number: str) -> None:
    """A number that does not fit is a fault of its row at the most: whatever is raised here fails a whole shard."""
    ddl = f"CREATE TABLE t (a INT CHECK(a BETWEEN {number} AND {number}9), b INT CHECK(b IN ({number}, 2)))"
    assert set(allowed_values(card(ddl))) <= {"a", "b"}
    allowed = [value for values in allowed_values(card(ddl)).values() for value in values]
    assert all(math.isfinite(value) for value in allowed if isinstance(value, int | float)), "no column holds it"
    columns = {"t": frozenset({"a", "b"})}
    for condition in (f"a > {number}", f"a BETWEEN 1 AND {number}", f"a = -{number}", f"a IN ({number})"):
        gold = f"SELECT a FROM t WHERE {condition} GROUP BY b HAVING COUNT(*) > {number}"
        for select in read_conditions(gold, columns).selects:
            for conditions in select.values():
                satisfying_value(conditions, 3)
        find_disagreement("q 12", gold)
        with contextlib.suppress(AnswerError):
            parse_answer(f"Question: q {number}\nSQL: {gold}", for_user_database=True)


@pytest.mark.parametrize("depth", [100, 900, 990, 5000, 100_000])
def test_no_depth_stops_a_reader_of_json(depth: int) -> None:
    for text in ('{"question": ' + "[" * depth + "]" * depth + "}", '{"sql":' * depth + "1" + "}" * depth):
        with contextlib.suppress(AnswerError):
            parse_answer(text, for_user_database=True)
