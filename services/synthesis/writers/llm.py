"""The LLM writer: the paper's prompt with two random seeds a call, and one example an answer.

`write_with_llm` is the whole way: it makes a shard's calls, asks the strong model, and reads each answer.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.synthesis.steering import ExampleSlot, WritingGoals, count_followed, plan_slots
from services.synthesis.writers.llm_answers import AnswerError, parse_answer
from services.synthesis.writers.llm_prompts import (
    PROMPT_VERSION,
    PromptContext,
    feature_instruction,
    new_database_prompt,
    user_database_prompt,
)
from services.synthesis.writers.user_databases import UserDatabase
from shared.contracts.records import Level, Message, Provenance, RejectedExample, Split, WrittenExample
from shared.contracts.synthesis import WriteExamples, WrittenCounts
from shared.errors import SenseError
from shared.llm.client import ChatClient
from shared.llm.endpoints import EndpointProfile, load_profile
from shared.llm.errors import LlmBudgetError, LlmContentFilterError, LlmContextLengthError
from shared.llm.messages import ChatAnswer, ChatRequest, answer_hash
from shared.sampling import UsageTotals, count_endings, describe_endings, stable_seed, stage_budget
from shared.storage.keys import answer_key
from shared.tasks.task import Shard, TaskResult

PILOT_ANSWERS = 24  # a model that follows the form in none of these is asked no more
BUDGET_SCOPE = "write"  # all writing stages of a job share the strong model's budget
CUT_OFF = "answer_cut_off"
REFUSALS = (LlmContentFilterError, LlmContextLengthError)


class FormatError(SenseError):
    """The model answers, but never in the form that the prompt asks for."""

    code = "format_not_followed"
    http_status = 422


def write_with_llm(command: WriteExamples, shard: Shard, goals: WritingGoals, context: PromptContext) -> TaskResult:
    """Makes one call an example. A refusal of the endpoint costs one example."""
    answers = ask_strong_model(command, shard, make_calls(command, goals, context))
    if answers.unasked:
        shard.progress(note=f"the budget does not hold {answers.unasked} more examples; the job ends with what it has")
    if sentences := describe_endings(answers.endings, "strong.max_tokens"):
        shard.progress(note="; ".join(sentences))
    counts = WrittenCounts(
        written=len(answers.written),
        unparsed=len(answers.unparsed),
        refused=len(answers.refused),
        unasked=answers.unasked,
        for_user_databases=sum(row.database is None for row in answers.written),
        followed=answers.followed,
        **answers.price,
        **answers.endings,
        **answers.tokens.counts(),
    )
    outputs = {
        "written": shard.write_records("written", answers.written),
        "unparsed": shard.write_records("unparsed", [*answers.unparsed, *answers.refused]),
    }
    return TaskResult(counts, outputs)


# ---- calls ----


@dataclass(frozen=True)
class Call:
    """One call, and what its example is known to be whatever the answer."""

    request: ChatRequest
    level: Level
    split: Split
    provenance: Provenance
    user_database: UserDatabase | None = None
    reasoning: bool = False
    feature: str | None = None


def make_calls(command: WriteExamples, goals: WritingGoals, context: PromptContext) -> list[Call]:
    """The calls of a shard, in order: the same for the same command, completed waves and wishes."""
    share = command.user_database_share if context.user_databases else 0.0
    slots = plan_slots(goals.levels, share, command.shard, command.count)
    features = goals.draw_features(command)
    return [make_call(command, number, slot, context, features[number]) for number, slot in enumerate(slots)]


def make_call(
    command: WriteExamples, number: int, slot: ExampleSlot, context: PromptContext, feature: str | None
) -> Call:
    # Seeded by the example's place: a retry makes the same calls and finds their recorded answers.
    rng = random.Random(stable_seed(command.seed, command.split, command.shard, number))
    seeds = rng.sample(context.seeds.seeds, 2)
    database = None
    if slot.for_user_database:
        database = context.user_databases[slot.number % len(context.user_databases)]
        text = user_database_prompt(command, slot.level, seeds, database, context, rng)
    else:
        text = new_database_prompt(command, slot.level, seeds, context)
    text += feature_instruction(feature)
    request = ChatRequest(
        model=command.model or "",
        messages=[Message(role="user", content=text)],
        temperature=command.temperature,
        max_tokens=command.max_tokens,
        seed=rng.randrange(2**31),
        slot=command.shard * 100_000 + number,  # distinct over all shards of the stage
    )
    provenance = Provenance(
        writer="llm",
        writer_version=PROMPT_VERSION,
        seed=command.seed,
        source="",
        model=command.model,
        prompt_hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        seed_examples=[seed.name for seed in seeds],
        seed_source=context.seeds.source,
        seed_licence=context.seeds.licence,
    )
    return Call(request, slot.level, command.split, provenance, database, command.target == "reasoning_sql", feature)


# ---- asking ----


@dataclass(slots=True)
class ShardAnswers:
    """What a shard's calls gave, in their order. `price` is that of all answers used, recorded ones too."""

    written: list[WrittenExample] = field(default_factory=list)
    unparsed: list[RejectedExample] = field(default_factory=list)
    refused: list[RejectedExample] = field(default_factory=list)
    unasked: int = 0
    followed: int = 0
    price: dict[str, int] = field(default_factory=dict)
    endings: dict[str, int] = field(default_factory=dict)
    tokens: UsageTotals = field(default_factory=UsageTotals)
    budget_error: LlmBudgetError | None = None


def ask_strong_model(command: WriteExamples, shard: Shard, calls: Sequence[Call]) -> ShardAnswers:
    """Asks for every call's example; a few first, where the stage has not parsed any answer yet.

    Raises the client's errors by cause, `FormatError`, and `LlmBudgetError` where the budget buys nothing at all.
    """
    answers = ShardAnswers()
    budget = stage_budget(shard, command.endpoint, command.budget_usd, command.budget_tokens, scope=BUDGET_SCOPE)
    profile = load_profile(command.endpoint or "")
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=answers.tokens.add, abort=shard.abort)
    finished = shard.jobs.sums(command.job_id, command.stage).counts  # of the stage's shards that are done
    used: list[ChatAnswer] = []
    # Once a shard of the stage has parsed answers, the model is known to follow the form.
    pilot = len(calls) if finished.get("written", 0) else PILOT_ANSWERS
    for part in (calls[:pilot], calls[pilot:]):
        outcomes = dict(client.stream_many([call.request for call in part]))
        for place, call in enumerate(part):
            sort_outcome(answers, call, outcomes[place], profile)
            used += [outcome] if isinstance(outcome := outcomes[place], ChatAnswer) else []
        check_format(command, answers, finished.get("unparsed", 0))
    prompt, completion = sum(one.prompt_tokens for one in used), sum(one.completion_tokens for one in used)
    answers.price = {
        "answer_prompt_tokens": prompt,
        "answer_completion_tokens": completion,
        "answer_micro_usd": round((profile.price(prompt, completion) or 0.0) * 1_000_000),
    }
    answers.endings = count_endings(used, sum(one.reason == CUT_OFF for one in answers.unparsed))
    bought = budget is not None and budget.spent.tokens > 0
    # A budget that is used up ends the job only if it has bought nothing; else the rest is collected.
    nothing_asked = answers.unasked == len(calls) and not finished.get("written", 0) and not bought
    if answers.budget_error is not None and nothing_asked:
        raise answers.budget_error
    return answers


def sort_outcome(answers: ShardAnswers, call: Call, outcome: ChatAnswer | SenseError, profile: EndpointProfile) -> None:
    """Adds one outcome to the answers. Raises errors that are neither an answer nor a refusal."""
    if isinstance(outcome, LlmBudgetError):
        answers.unasked += 1
        answers.budget_error = outcome
    elif isinstance(outcome, REFUSALS):
        # kept like an answer without an example, under the answer's key
        source = answer_key(answer_hash(profile.name, call.request, profile.changes))
        reason = outcome.code.removeprefix("llm_")
        answers.refused.append(rejected_record(call, reason, outcome.message, source))
    elif isinstance(outcome, SenseError):
        raise outcome
    elif isinstance(row := read_answer(outcome, call), WrittenExample):
        answers.written.append(row)
        answers.followed += count_followed([row], [call.feature])
    else:
        answers.unparsed.append(row)


def check_format(command: WriteExamples, answers: ShardAnswers, unparsed_before: int) -> None:
    """Ends a job whose model cannot follow the form, before all of its answers are paid for."""
    tried = unparsed_before + len(answers.unparsed)
    if answers.written or tried < PILOT_ANSWERS or not answers.unparsed:
        return
    model = f"model {command.model!r} at endpoint {command.endpoint!r}"
    last = f"{answers.unparsed[-1].written.provenance.source}: {answers.unparsed[-1].detail}"
    # If most answers were cut off, the limit is the cause and not the model.
    if sum(one.reason == CUT_OFF for one in answers.unparsed) * 2 > len(answers.unparsed):
        raise FormatError(
            f"{model} gave a whole example in none of {tried} answers: most of them reached strong.max_tokens "
            f"({command.max_tokens}) before; raise it. The last one, {last}. Recorded answers stay"
        )
    raise FormatError(
        f"{model} followed the form (Domain, Schema, Question, Answer) in none of {tried} answers; the last one, "
        f"{last}. Name another model; recorded answers stay"
    )


# ---- answers ----


def read_answer(answer: ChatAnswer, call: Call) -> WrittenExample | RejectedExample:
    database = call.user_database
    try:
        parsed = parse_answer(
            answer.texts[0], for_user_database=database is not None, finish_reason=answer.finish_reasons[0]
        )
    except AnswerError as error:
        return rejected_record(call, error.reason, str(error), answer.key)
    return WrittenExample(
        domain=database.name if database else parsed.domain,
        split=call.split,
        level=call.level,
        question=parsed.question,
        evidence=parsed.evidence,
        reasoning=parsed.reasoning if call.reasoning else None,
        sql=parsed.sql,
        database=None if database else parsed.script,
        database_id=database.card.database_id if database else None,
        provenance=call.provenance.model_copy(update={"source": answer.key}),
    )


def rejected_record(call: Call, reason: str, detail: str, source: str) -> RejectedExample:
    database = call.user_database
    empty = WrittenExample(
        domain=database.name if database else "",
        split=call.split,
        level=call.level,
        question="",
        sql="",
        database_id=database.card.database_id if database else None,
        provenance=call.provenance.model_copy(update={"source": source}),
    )
    return RejectedExample(reason=reason, detail=detail, written=empty)
