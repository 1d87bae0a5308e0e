"""The LLM writer: the paper's prompt, two random seed examples a call, one example an answer."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from services.synthesis.steering import (
    ExampleSlot,
    WritingGoals,
    command_goals,
    count_followed,
    feature_instruction,
    plan_slots,
)
from services.synthesis.writers.llm_answers import ParsedAnswer, UnparsableAnswerError, parse_answer
from services.synthesis.writers.llm_prompts import EMPTY_HISTORY, History
from services.synthesis.writers.seeds import Seed, SeedSet, builtin_seeds, render_seed
from services.synthesis.writers.user_databases import UserDatabase
from shared.contracts.records import Level, Message, Provenance, RejectedExample, Split, WrittenExample
from shared.contracts.synthesis import WriteExamples, WrittenCounts
from shared.errors import SenseError
from shared.llm.client import ChatClient
from shared.llm.endpoints import EndpointProfile, load_profile
from shared.llm.errors import LlmBudgetError, LlmContentFilterError, LlmContextLengthError
from shared.llm.messages import ChatAnswer, ChatRequest, answer_hash
from shared.sampling import UsageTotals, count_endings, stable_seed, stage_budget
from shared.storage.keys import answer_key
from shared.tasks.task import Shard

PROMPT_VERSION = "strong-v2"
PROMPTS = Path(__file__).parents[1] / "prompts" / PROMPT_VERSION
MAX_EARLIER_QUESTIONS = 12  # questions on the same database that a prompt names, so that they are not asked again


@dataclass(frozen=True)
class PromptContext:
    """What calls are made from beside the command: seeds, what the collection has, the user's databases."""

    seeds: SeedSet = field(default_factory=builtin_seeds)
    history: History = EMPTY_HISTORY
    owns: Sequence[UserDatabase] = ()


@dataclass(frozen=True)
class Call:
    """One call and what its example is known to be, whatever the answer; `feature` was wished for."""

    request: ChatRequest
    level: Level
    split: Split
    provenance: Provenance
    own: UserDatabase | None = None
    reasoning: bool = False
    feature: str | None = None


@cache
def read_prompt_file(name: str) -> str:
    """A file of the prompt's version."""
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8")


def make_calls(command: WriteExamples, known: PromptContext, wish: WritingGoals | None = None) -> list[Call]:
    """The calls of a shard, in order: the same for the same command, the same completed waves and wishes."""
    wish = wish or command_goals(command)
    user_database_share = command.user_database_share if known.owns else 0.0
    places = plan_slots(wish.levels, user_database_share, command.shard, command.count)
    features = wish.draw(command)
    return [make_call(command, number, place, known, features[number]) for number, place in enumerate(places)]


def make_call(
    command: WriteExamples, number: int, place: ExampleSlot, known: PromptContext, feature: str | None = None
) -> Call:
    """The call for one example; the wish for a feature ends its prompt."""
    rng = random.Random(stable_seed(command.seed, command.split, command.shard, number))
    seeds = known.seeds.draw(rng)
    own = known.owns[place.number % len(known.owns)] if place.own else None
    text = (
        user_database_prompt(command, place.level, seeds, own, known, rng)
        if own
        else new_database_prompt(command, place, seeds, known)
    )
    text += feature_instruction(feature)
    request = ChatRequest(
        model=command.model or "",
        messages=[Message(role="user", content=text)],
        temperature=command.temperature,
        max_tokens=command.max_tokens,
        seed=rng.randrange(2**31),
        slot=command.shard * 100_000 + number,
    )
    provenance = Provenance(
        writer="llm",
        writer_version=PROMPT_VERSION,
        seed=command.seed,
        source="",
        model=command.model,
        prompt_hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        seed_examples=[seed.name for seed in seeds],
        seed_source=known.seeds.source,
        seed_licence=known.seeds.licence,
    )
    return Call(request, place.level, command.split, provenance, own, command.target == "reasoning_sql", feature)


def render_seeds(seeds: Sequence[Seed], command: WriteExamples) -> str:
    """Seeds with the parts that are asked for."""
    wanted = {"evidence": command.evidence, "reasoning": command.target == "reasoning_sql"}
    return "\n\n".join(render_seed(seed, **wanted) for seed in seeds)


def answer_format(command: WriteExamples, first: int, headings: list[str]) -> dict[str, str]:
    """Parts of the answer beyond the paper's four, numbered from `first`, and the headings in their order."""
    wanted = [("evidence", command.evidence), ("reasoning", command.target == "reasoning_sql")]
    names = [name for name, asked in wanted if asked]
    lines = [f"{first + place}. {read_prompt_file(name).strip()}\n" for place, name in enumerate(names)]
    labels = [f"{name.capitalize()}:" for name in [*headings, *names]]
    return {
        "more": "".join(lines),
        "last": str(first + len(names)),
        "headings": f"{', '.join(labels)} and Answer:",
    }


def new_database_prompt(command: WriteExamples, place: ExampleSlot, seeds: Sequence[Seed], known: PromptContext) -> str:
    """The prompt for an invented database. Domains to avoid: the paper's, the seeds', and what is common by now."""
    taken = list(dict.fromkeys([*sorted({seed.domain for seed in seeds}), *known.history.common()]))
    return read_prompt_file("new").format(
        level=place.level,
        taken=", ".join(taken),
        examples=render_seeds(seeds, command),
        **answer_format(command, 4, ["domain", "schema", "question"]),
    )


def user_database_prompt(
    command: WriteExamples,
    level: Level,
    seeds: Sequence[Seed],
    own: UserDatabase,
    known: PromptContext,
    rng: random.Random,
) -> str:
    """The prompt for a database of the user's; a table is drawn, so that questions spread over the schema."""
    asked = known.history.questions.get(own.card.database_id, [])
    before = "\n".join(f"- {question}" for question in rng.sample(asked, min(MAX_EARLIER_QUESTIONS, len(asked))))
    return read_prompt_file("own").format(
        level=level,
        examples=render_seeds(seeds, command),
        schema=own.schema(),
        values=own.values(),
        focus=rng.choice(own.tables or [table.name for table in own.card.tables]),
        asked=f"Questions that the collection has already, not to be asked again:\n{before}\n\n" if before else "",
        **answer_format(command, 2, ["question"]),
    )


def read_answer(answer: ChatAnswer, call: Call) -> WrittenExample | RejectedExample:
    """The example in an answer, or why there is none; the answer itself stays under its key."""
    provenance = call.provenance.model_copy(update={"source": answer.key})
    try:
        parsed = parse_answer(answer.texts[0], own=call.own is not None, finish_reason=answer.finish_reasons[0])
    except UnparsableAnswerError as error:
        return rejected_record(call, error.reason, str(error), answer.key)
    return written_record(call, parsed, provenance)


def written_record(call: Call, parsed: ParsedAnswer, provenance: Provenance) -> WrittenExample:
    """The example; for a database of the user's there is nothing to build."""
    return WrittenExample(
        domain=call.own.name if call.own else parsed.domain,
        split=call.split,
        level=call.level,
        question=parsed.question,
        evidence=parsed.evidence,
        reasoning=parsed.reasoning if call.reasoning else None,
        sql=parsed.sql,
        database=None if call.own else parsed.script,
        database_id=call.own.card.database_id if call.own else None,
        provenance=provenance,
    )


def rejected_record(call: Call, reason: str, detail: str, source: str = "") -> RejectedExample:
    """A call that gave no example, kept with its reason."""
    empty = WrittenExample(
        domain=call.own.name if call.own else "",
        split=call.split,
        level=call.level,
        question="",
        sql="",
        database_id=call.own.card.database_id if call.own else None,
        provenance=call.provenance.model_copy(update={"source": source}),
    )
    return RejectedExample(reason=reason, detail=detail, written=empty)


PILOT_ANSWERS = 24  # answers after which a model that never follows the form is asked no more
BUDGET_SCOPE = "write"  # all writing stages of a job share the strong model's budget
CUT_OFF = "answer_cut_off"
REFUSALS = (LlmContentFilterError, LlmContextLengthError)


class FormatError(SenseError):
    """The model answers, and never in the form that was asked for."""

    code = "format_not_followed"
    http_status = 422


@dataclass(slots=True)
class ShardAnswers:
    """Rows in the order of the requests."""

    written: list[WrittenExample] = field(default_factory=list)
    unparsed: list[RejectedExample] = field(default_factory=list)
    refused: list[RejectedExample] = field(default_factory=list)
    unasked: int = 0
    followed: int = 0
    worth: dict[str, int] = field(default_factory=dict)
    endings: dict[str, int] = field(default_factory=dict)
    over: LlmBudgetError | None = None

    @property
    def rejected(self) -> list[RejectedExample]:
        """Everything that came to nothing here."""
        return [*self.unparsed, *self.refused]

    def counts(self, tokens: UsageTotals) -> WrittenCounts:
        """As the shard counts them."""
        return WrittenCounts(
            written=len(self.written),
            unparsed=len(self.unparsed),
            refused=len(self.refused),
            unasked=self.unasked,
            own=sum(row.database is None for row in self.written),
            followed=self.followed,
            **self.worth,
            **self.endings,
            **tokens.counts(),
        )


def worth(profile: EndpointProfile, answers: Sequence[ChatAnswer]) -> dict[str, int]:
    """Tokens and price of the answers in use, whether they were paid now or are recorded: the same in every run."""
    prompt, completion = sum(one.prompt_tokens for one in answers), sum(one.completion_tokens for one in answers)
    price = profile.price(prompt, completion) or 0.0
    return {
        "answer_prompt_tokens": prompt,
        "answer_completion_tokens": completion,
        "answer_micro_usd": round(price * 1_000_000),
    }


def ask_strong_model(command: WriteExamples, shard: Shard, asked: Sequence[Call]) -> tuple[ShardAnswers, UsageTotals]:
    """Every request's row. While nothing was ever parsed, a few are asked first.

    Raises the client's errors by cause, `FormatError`, and `LlmBudgetError` where the budget buys nothing at all.
    """
    tokens = UsageTotals()
    budget = stage_budget(shard, command.endpoint, command.budget_usd, command.budget_tokens, scope=BUDGET_SCOPE)
    profile = load_profile(command.endpoint or "")
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    answers, before = ShardAnswers(), read_progress(shard)
    used: list[ChatAnswer] = []
    first = len(asked) if before.written else PILOT_ANSWERS
    for part in (asked[:first], asked[first:]):
        outcomes = dict(client.stream_many([one.request for one in part]))
        for place, one in enumerate(part):
            sort_outcome(answers, one, outcomes[place], profile)
            used += [outcome] if isinstance(outcome := outcomes[place], ChatAnswer) else []
        check_format(command, answers, before.unparsed)
    answers.worth = worth(profile, used)
    answers.endings = count_endings(used, sum(one.reason == CUT_OFF for one in answers.unparsed))
    bought = budget is not None and budget.spent.tokens > 0
    if answers.over is not None and answers.unasked == len(asked) and not before.written and not bought:
        raise answers.over
    return answers, tokens


@dataclass(frozen=True, slots=True)
class StageProgress:
    """What finished shards of the stage have counted."""

    written: int
    unparsed: int


def read_progress(shard: Shard) -> StageProgress:
    """Shards that are done, whichever worker did them."""
    counts = shard.jobs.sums(shard.command.job_id, shard.command.stage).counts
    return StageProgress(counts.get("written", 0), counts.get("unparsed", 0))


def sort_outcome(answers: ShardAnswers, one: Call, outcome: ChatAnswer | SenseError, endpoint: EndpointProfile) -> None:
    """Sorts one outcome in. Raises what is neither an answer nor a refusal."""
    if isinstance(outcome, LlmBudgetError):
        answers.unasked += 1
        answers.over = outcome
    elif isinstance(outcome, REFUSALS):
        answers.refused.append(refused_record(one, outcome, endpoint))
    elif isinstance(outcome, SenseError):
        raise outcome
    elif isinstance(row := read_answer(outcome, one), WrittenExample):
        answers.written.append(row)
        answers.followed += count_followed([row], [one.feature])
    else:
        answers.unparsed.append(row)


def refused_record(one: Call, error: SenseError, endpoint: EndpointProfile) -> RejectedExample:
    """The endpoint would not answer this prompt: kept like an answer without an example, under its key."""
    source = answer_key(answer_hash(endpoint.name, one.request, endpoint.changes))
    return rejected_record(one, error.code.removeprefix("llm_"), error.message, source)


def check_format(command: WriteExamples, answers: ShardAnswers, before: int) -> None:
    """Ends a job whose model cannot do it, before it is paid for all of its answers."""
    tried = before + len(answers.unparsed)
    if answers.written or tried < PILOT_ANSWERS or not answers.unparsed:
        return
    last = answers.unparsed[-1]
    if sum(one.reason == CUT_OFF for one in answers.unparsed) * 2 > len(answers.unparsed):
        raise FormatError(
            f"model {command.model!r} at endpoint {command.endpoint!r} gave a whole example in none of {tried} "
            f"answers: most of them reached strong.max_tokens ({command.max_tokens}) before; raise it. The last one, "
            f"{last.written.provenance.source}: {last.detail}. Recorded answers stay"
        )
    raise FormatError(
        f"model {command.model!r} at endpoint {command.endpoint!r} followed the form (Domain, Schema, Question, "
        f"Answer) in none of {tried} answers; the last one, {last.written.provenance.source}: {last.detail}. "
        "Name another model; recorded answers stay"
    )
