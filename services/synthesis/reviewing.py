"""The task that asks a judge model back about verified examples."""

from services.synthesis.collect import as_written
from services.synthesis.gates.review import read_verdict, review_request
from shared.catalog.databases import CardCache
from shared.contracts.records import Example, Rejected
from shared.contracts.synthesis import ReviewedCounts, ReviewExamples
from shared.errors import SenseError
from shared.llm.client import ChatClient
from shared.llm.endpoints import load_profile
from shared.llm.errors import LlmContentFilterError, LlmContextLengthError, LlmMalformedError
from shared.llm.messages import ChatAnswer
from shared.sampling import UsageTotals, stage_budget
from shared.tasks.task import Shard, TaskResult

REFUSED, UNCLEAR = "judge_says_no", "judge_unclear"
# What an endpoint does to one call: that example is kept unjudged, and marked.
SKIPPED = (LlmContentFilterError, LlmContextLengthError, LlmMalformedError)


def review_examples(command: ReviewExamples, shard: Shard) -> TaskResult:
    """A clear no rejects an example; what has no clear answer is kept and marked."""
    examples = shard.rows(command.examples, Example)
    tokens = UsageTotals()
    answers = ask(command, shard, examples, tokens)
    accepted: list[Example] = []
    rejected: list[Rejected] = []
    for example, answer in zip(examples, answers, strict=True):
        right, said = read_verdict(answer.texts[0]) if isinstance(answer, ChatAnswer) else (None, answer.message)
        if right is False:
            written = as_written(example)
            rejected.append(Rejected(reason=REFUSED, detail=said, written=written, gate="judge"))
        else:
            flags = [] if right else [UNCLEAR]
            accepted.append(example.model_copy(update={"flags": [*example.flags, *flags]}))
    counts = ReviewedCounts(
        accepted=len(accepted),
        rejected=len(rejected),
        unclear=sum(UNCLEAR in example.flags for example in accepted),
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        micro_usd=round(tokens.usd * 1_000_000),
    )
    outputs = {
        "examples": shard.write_records("examples", accepted),
        "rejected": shard.write_records("rejected", rejected),
    }
    return TaskResult(counts, outputs)


def ask(
    command: ReviewExamples, shard: Shard, examples: list[Example], tokens: UsageTotals
) -> list[ChatAnswer | SenseError]:
    """One answer an example, in order. Raises what concerns all calls."""
    budget = stage_budget(shard, command.endpoint, command.budget_usd)
    profile = load_profile(command.endpoint)
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    catalog = CardCache(shard.objects)
    requests = [
        review_request(
            example,
            catalog.card(example.database_id),
            model=command.model,
            rows=command.prompt_rows,
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
