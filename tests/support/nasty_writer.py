"""A strong model at its worst: mostly the tests' grammar, and in between everything that models and attackers write.

Deterministic by the request, so that the same calls get the same answers in any run. `hand_out` says what was sold.
"""

import hashlib
import json

from tests.support.openai_server import IDEMPOTENCY, Request
from tests.support.writers import strong_writer

REFUSAL = "I'm sorry, but I can't help with that."
PROSE = "Here is an idea: a database of bakeries. You could ask which bakery sells most bread."
NO_INSERT = "Domain: trade\nSchema:\nCREATE TABLE a (x INTEGER);\nQuestion: How many?\nAnswer: SELECT count(*) FROM a"
JSON_FORM = json.dumps(
    {"domain": "trade", "schema": "CREATE TABLE a (x INTEGER)", "question": "?", "answer": "SELECT 1"}
)
TABLE = "Domain: trade\nSchema:\nCREATE TABLE a (x INTEGER PRIMARY KEY, t TEXT);\nINSERT INTO a VALUES (1, 'one');\n"
BOMB = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
ATTACKS = (
    "DROP TABLE a",
    "SELECT 1; DROP TABLE a",
    "ATTACH DATABASE '/tmp/stolen.db' AS s",
    "PRAGMA writable_schema = 1",
    "SELECT load_extension('/tmp/evil.so')",
    "SELECT writefile('/tmp/x', 'y')",
    BOMB,
    "SELECT * FROM a WHERE x = 99",
    "SELECT missing FROM a",
    "SELECT x FROM a WHERE (",
)
SCHEMA_ATTACKS = (
    "CREATE TABLE a (x INTEGER);\nINSERT INTO a VALUES (1);\nATTACH DATABASE '/tmp/stolen.db' AS s;",
    "CREATE TABLE a (x INTEGER);\nINSERT INTO a VALUES (load_extension('/tmp/evil.so'));",
    "CREATE TABLE a (x INTEGER);\nINSERT INTO missing VALUES (1);",
    "CREATE TABLE a (x INTEGER);\nINSERT INTO a VALUES (1);\nDROP TABLE a;",
)


def nasty_answers() -> list[str]:
    """Every answer that no example may come of."""
    answers = [REFUSAL, PROSE, NO_INSERT, JSON_FORM, ""]
    answers += [f"{TABLE}Question: What is there?\nAnswer: {sql}" for sql in ATTACKS]
    answers += [
        f"Domain: trade\nSchema:\n{schema}\nQuestion: What?\nAnswer: SELECT * FROM missing_table"
        for schema in SCHEMA_ATTACKS
    ]
    return answers


def nasty_writer(request: Request) -> list[str]:
    """One answer in five is one of the above, one in ten a repetition of an example that others get too."""
    body = {name: value for name, value in request.items() if name != IDEMPOTENCY}
    number = int.from_bytes(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()[:8], "big")
    bad = nasty_answers()
    if number % 10 < 2:
        return [bad[number // 10 % len(bad)]]
    if number % 10 == 2:
        return strong_writer({"messages": [{"content": f"level: easy {number // 10 % 5}"}]})
    return strong_writer(body)


def never_in_form(_request: Request) -> str:
    """A model that chats."""
    return PROSE
