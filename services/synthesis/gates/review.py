"""The judge model: does the SQL of a verified example answer its question?"""

import re
from pathlib import Path

from services.synthesis.collecting.collect import to_written
from shared.catalog.databases import CardCache, SchemaCard
from shared.contracts.records import Example, Message, RejectedExample
from shared.contracts.synthesis import ReviewedCounts, ReviewExamples
from shared.errors import SenseError
from shared.llm.client import ChatClient
from shared.llm.endpoints import load_profile
from shared.llm.errors import LlmContentFilterError, LlmContextLengthError, LlmMalformedError
from shared.llm.messages import ChatAnswer, ChatRequest
from shared.sampling import UsageTotals, stable_seed, stage_budget
from shared.sql.prompt import render_schema
from shared.sql.reasoning import BLANK, blank_reasoning
from shared.tasks.task import Shard, TaskResult

REVIEW_VERSION = "review-v1"
PROMPT = Path(__file__).parents[1] / "prompts" / f"{REVIEW_VERSION}.md"
VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
JUDGE_SAYS_NO, JUDGE_UNCLEAR = "judge_says_no", "judge_unclear"
# Errors that concern one call: its example is kept unjudged, and marked.
SKIPPED = (LlmContentFilterError, LlmContextLengthError, LlmMalformedError)


def review_examples(command: ReviewExamples, shard: Shard) -> TaskResult:
    """A clear no rejects an example. An unclear answer keeps and marks it."""
    examples = shard.rows(command.examples, Example)
    tokens = UsageTotals()
    answers = ask_judge(command, shard, examples, tokens)
    accepted: list[Example] = []
    rejected: list[RejectedExample] = []
    for example, answer in zip(examples, answers, strict=True):
        right, detail = read_verdict(answer.texts[0]) if isinstance(answer, ChatAnswer) else (None, answer.message)
        if right is False:
            written = to_written(example)
            rejected.append(RejectedExample(reason=JUDGE_SAYS_NO, detail=detail, written=written, gate="judge"))
        else:
            flags = [] if right else [JUDGE_UNCLEAR]
            accepted.append(example.model_copy(update={"flags": [*example.flags, *flags]}))
    counts = ReviewedCounts(
        accepted=len(accepted),
        rejected=len(rejected),
        unclear=sum(JUDGE_UNCLEAR in example.flags for example in accepted),
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        micro_usd=round(tokens.usd * 1_000_000),
    )
    outputs = {
        "examples": shard.write_records("examples", accepted),
        "rejected": shard.write_records("rejected", rejected),
    }
    return TaskResult(counts, outputs)


def ask_judge(
    command: ReviewExamples, shard: Shard, examples: list[Example], tokens: UsageTotals
) -> list[ChatAnswer | SenseError]:
    """One answer an example, in order. Raises errors that concern all calls."""
    budget = stage_budget(shard, command.endpoint, command.budget_usd)
    profile = load_profile(command.endpoint)
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    catalog = CardCache(shard.objects)
    requests = [
        review_request(
            example,
            catalog.card(example.database_id),
            model=command.model,
            rows=command.sample_rows,
            max_tokens=command.max_tokens,
        )
        for example in examples
    ]
    outcomes = dict(client.stream_many(requests))
    answers = [outcomes[place] for place in range(len(requests))]
    hard = [one for one in answers if isinstance(one, SenseError) and not isinstance(one, SKIPPED)]
    if hard:
        raise hard[0]
    return answers


def review_request(example: Example, card: SchemaCard, *, model: str, rows: int, max_tokens: int) -> ChatRequest:
    """The call for one example, greedy and seeded, so that it is the same every time."""
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
    """(True for yes, False for no, None for neither; the text after it). Reasoning before the answer does not count."""
    visible = blank_reasoning(answer).replace(BLANK, "").lstrip()
    # The verdict comes first; a yes or no further on belongs to the explanation.
    found = VERDICT.search(visible[:200])
    if found is None:
        return None, visible.strip()[:300]
    return found.group().lower() == "yes", visible[found.end() :].lstrip(" \n.,:;*-—").rstrip()[:300]
