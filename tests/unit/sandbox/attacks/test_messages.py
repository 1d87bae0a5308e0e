"""Messages say more than SQLite does where that says too little, and are never long."""

from pathlib import Path

import apsw
import pytest

from services.sandbox.execution.outcomes import MEANINGS, classify_error
from services.sandbox.execution.pool import SandboxPool


@pytest.mark.parametrize(
    ("sql", "outcome", "said"),
    [
        ("SELECT name FROM customer WHERE", "syntax_error", "incomplete input: the SQL ends in the middle"),
        ("SELECT " + "(" * 5000, "syntax_error", "nested too deep"),
        ("SELECT zeroblob(2000000)", "byte_limit", "string or blob too big: a value that the query makes"),
        ("SELECT sum(9223372036854775807) FROM many", "type_or_function_error", "integer overflow: sum() or abs()"),
        ("SELECT 1 LIMIT 'a'", "type_or_function_error", "datatype mismatch: LIMIT and OFFSET take whole numbers"),
        ("SELECT json('{')", "type_or_function_error", "malformed JSON: a text given to a JSON function"),
        ("SELECT name MATCH 'x' FROM customer", "type_or_function_error", "MATCH searches full-text tables only"),
        ("SELECT name REGEXP 'x' FROM customer", "type_or_function_error", "REGEXP: SQLite has LIKE and GLOB"),
        ("SELECT (1, 2)", "type_or_function_error", "row value misused: (a, b)"),
        (f"SELECT 1 LIKE '{'a' * 300}'", "type_or_function_error", "the pattern is longer than the sandbox allows"),
    ],
)
def test_meanings(pool: SandboxPool, target: Path, sql: str, outcome: str, said: str) -> None:
    ran = pool.execute(target, sql, deadline_s=10)
    assert ran.outcome.value == outcome
    assert said in (ran.message or "")


def test_every_meaning_is_spoken_once() -> None:
    assert len(MEANINGS) == 10  # one for each case above


def test_long_names_are_cut_in_the_middle() -> None:
    name = "a" * 90_000
    failure = classify_error(apsw.SQLError(f"no such column: {name}"))
    assert failure.outcome == "unknown_column"
    assert failure.message.startswith("no such column: aaa")
    assert len(failure.message) < 600
    near = classify_error(apsw.SQLError(f'near "{name}": syntax error')).message
    assert near.startswith('near "aaa') and near.endswith('a": syntax error')
