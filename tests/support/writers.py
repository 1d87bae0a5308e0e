"""Plays a strong and a weak model for the test server: deterministic, by a hash of the request."""

import hashlib
import json
import random
import re
from collections.abc import Mapping

from shared.contracts.records import Level, WrittenExample
from tests.support.openai_server import Answer, Request

NAMED_LEVEL = re.compile(r"\blevel\b[^a-z]{0,12}(easy|medium|hard)\b", re.IGNORECASE)
ANY_LEVEL = re.compile(r"\b(easy|medium|hard)\b", re.IGNORECASE)
CONDITION = re.compile(
    r"\s+WHERE\s+.*?(?=\s+(?:GROUP|ORDER|LIMIT|UNION|INTERSECT|EXCEPT)\b|\)|$)", re.IGNORECASE | re.DOTALL
)
QUESTION = re.compile(r"^Question:[ \t]*(.+)$", re.MULTILINE)


def request_rng(request: Request, salt: object) -> random.Random:
    """A generator of its own for each request, slot (by its idempotency key) and salt."""
    canonical = json.dumps([request, str(salt)], sort_keys=True).encode()
    return random.Random(int.from_bytes(hashlib.sha256(canonical).digest()[:8], "big"))


def asked_level(text: str) -> Level:
    """The level that a synthesis prompt asks for: the last one named as a level, else the last one mentioned."""
    found = NAMED_LEVEL.findall(text) or ANY_LEVEL.findall(text) or ["easy"]
    levels: dict[str, Level] = {"easy": "easy", "medium": "medium", "hard": "hard"}
    return levels[found[-1].lower()]


def render_written(written: WrittenExample) -> str:
    """The four parts of the paper's synthesis prompt: Domain, Schema, Question, Answer."""
    script = written.database
    statements = [*script.ddl, *script.inserts] if script is not None else []
    schema = "\n".join(f"{statement.strip().rstrip(';')};" for statement in statements)
    return (
        f"Domain: {written.domain}\n\nSchema:\n```sql\n{schema}\n```\n\n"
        f"Question: {written.question}\n\nAnswer:\n```sql\n{written.sql}\n```\n"
    )


def strong_writer(request: Request) -> list[str]:
    """One new example a sample, at the level that the prompt asks for."""
    from services.synthesis.writers.grammar.writer import write_examples

    level = asked_level(request["messages"][-1]["content"])
    answers = []
    for sample in range(int(request.get("n") or 1)):
        seed = request_rng(request, sample).randrange(1 << 31)
        written = write_examples(seed=seed, split="train", shard=0, count=1, levels={level: 1.0})
        answers.append(render_written(written[0]))
    return answers


def asked_question(request: Request) -> str:
    """The question at the end of a chat prompt of `shared.sql.prompt`."""
    found: list[str] = QUESTION.findall(request["messages"][-1]["content"])
    return found[-1].strip() if found else ""


def weak_writer(gold: Mapping[str, str], *, correct: float = 0.6) -> Answer:
    """An answer function that gives the gold in about `correct` of the samples, else a damaged SQL.

    Raises `KeyError` for a question that `gold` does not hold.
    """

    def answer(request: Request) -> list[str]:
        sql = gold[asked_question(request)]
        texts = []
        for sample in range(int(request.get("n") or 1)):
            rng = request_rng(request, sample)
            texts.append(sql if rng.random() < correct else corrupt(sql, rng))
        return texts

    return answer


def corrupt(sql: str, rng: random.Random) -> str:
    """A text that differs from `sql` as weak models' do: wrong column, lost condition, broken form, no SQL at all."""
    ways = [_wrong_order, _no_condition, _other_aggregate, _unknown_column, _unknown_table, _cut_off, _no_sql]
    rng.shuffle(ways)
    for way in ways:
        damaged = way(sql, rng)
        if damaged != sql:
            return damaged
    return _no_sql(sql, rng)


def _wrong_order(sql: str, _rng: random.Random) -> str:
    return re.sub(r"\bDESC\b", "ASC", sql, flags=re.IGNORECASE)


def _no_condition(sql: str, _rng: random.Random) -> str:
    return CONDITION.sub("", sql, count=1)


def _other_aggregate(sql: str, _rng: random.Random) -> str:
    swaps = {"MAX": "MIN", "MIN": "MAX", "AVG": "SUM", "SUM": "AVG"}
    return re.sub(r"\b(MAX|MIN|AVG|SUM)(?=\s*\()", lambda found: swaps[found[1].upper()], sql, flags=re.IGNORECASE)


def _unknown_column(sql: str, rng: random.Random) -> str:
    return re.sub(r"\bSELECT\b", f"SELECT missing_{rng.randrange(100)},", sql, count=1, flags=re.IGNORECASE)


def _unknown_table(sql: str, rng: random.Random) -> str:
    return re.sub(r"\bFROM\s+\w+", f"FROM missing_{rng.randrange(100)}", sql, count=1, flags=re.IGNORECASE)


def _cut_off(sql: str, _rng: random.Random) -> str:
    return f"{sql.rstrip().rstrip(';')} WHERE ("


def _no_sql(_sql: str, _rng: random.Random) -> str:
    return "I cannot answer this from the tables shown."
