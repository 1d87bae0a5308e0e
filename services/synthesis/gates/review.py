"""The judge model: is the SQL the answer to the question? Asked back once an example, through the common client."""

import re
from pathlib import Path

from shared.catalog.databases import SchemaCard
from shared.contracts.records import Example, Message
from shared.llm.messages import ChatRequest
from shared.sampling import stable_seed
from shared.sql.prompt import render_schema
from shared.sql.reasoning import BLANK, blank_reasoning

REVIEW_VERSION = "review-v1"
PROMPT = Path(__file__).parents[1] / "prompts" / f"{REVIEW_VERSION}.md"
ANSWER_TOKENS = 80
VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


def review_request(example: Example, card: SchemaCard, *, model: str, rows: int, max_tokens: int) -> ChatRequest:
    """The call for one example: greedy, so that the same example is asked the same."""
    evidence = f"External knowledge: {example.evidence}\n" if example.evidence else ""
    text = PROMPT.read_text(encoding="utf-8").format(
        schema=render_schema(card, rows), evidence=evidence, question=example.question, sql=example.gold
    )
    return ChatRequest(
        model=model,
        messages=[Message(role="user", content=text)],
        temperature=0.0,
        max_tokens=max_tokens,
        seed=stable_seed(REVIEW_VERSION, example.example_id),
    )


def read_verdict(answer: str) -> tuple[bool | None, str]:
    """Yes, no or neither, and what was said with it; thoughts before the answer do not count."""
    said = blank_reasoning(answer).replace(BLANK, "").lstrip()
    found = VERDICT.search(said[:200])
    if found is None:
        return None, said.strip()[:300]
    return found.group().lower() == "yes", said[found.end() :].lstrip(" \n.,:;*-—").rstrip()[:300]
