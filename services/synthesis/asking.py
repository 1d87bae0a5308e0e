"""Asks the strong model for a shard's examples: what it gave, what it refused, what was not asked for any more."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.synthesis.llm_writer import PROMPT_VERSION, make_request, read_answer, share_levels
from shared.contracts.records import Level, Provenance, Rejected, Written
from shared.contracts.synthesis import WriteExamples, WrittenCounts
from shared.errors import SenseError
from shared.llm.ask import TokenCount, stage_budget
from shared.llm.client import ChatClient
from shared.llm.errors import LlmBudgetError, LlmContentFilterError, LlmContextLengthError
from shared.llm.messages import ChatAnswer, ChatRequest
from shared.llm.profiles import load_profile
from shared.llm.replay import answer_hash
from shared.storage.keys import answer_key
from shared.tasks.shard import Shard

PILOT = 24  # answers after which a model that never follows the form is asked no more
SCOPE = "write"  # all writing stages of a job share the strong model's budget
REFUSALS = (LlmContentFilterError, LlmContextLengthError)


class FormatError(SenseError):
    """The model answers, and never in the form that was asked for."""

    code = "format_not_followed"
    http_status = 422


@dataclass(frozen=True, slots=True)
class Asked:
    """The call for one example, and what its lineage says of it."""

    request: ChatRequest
    seeds: list[str]
    prompt_hash: str
    level: Level


@dataclass(slots=True)
class Answers:
    """Rows in the order of the requests."""

    written: list[Written] = field(default_factory=list)
    unparsed: list[Rejected] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)
    unasked: int = 0
    over: LlmBudgetError | None = None

    @property
    def rejected(self) -> list[Rejected]:
        """Everything that came to nothing here."""
        return [*self.unparsed, *self.refused]

    def counts(self, tokens: TokenCount) -> WrittenCounts:
        """As the shard counts them."""
        return WrittenCounts(
            written=len(self.written),
            unparsed=len(self.unparsed),
            refused=len(self.refused),
            unasked=self.unasked,
            **tokens.counts(),
        )


def make_requests(command: WriteExamples) -> list[Asked]:
    """The calls of a shard."""
    levels = share_levels(command.levels, command.count)
    return [Asked(*make_request(command, place, level), level) for place, level in enumerate(levels)]


def ask_strong(command: WriteExamples, shard: Shard, asked: Sequence[Asked]) -> tuple[Answers, TokenCount]:
    """Every request's row. While nothing was ever parsed, a few are asked first.

    Raises the client's errors by cause, `FormatError`, and `LlmBudgetError` where the budget buys nothing at all.
    """
    tokens = TokenCount()
    budget = stage_budget(shard, command.budget_usd, command.budget_tokens, scope=SCOPE)
    profile = load_profile(command.endpoint or "")
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    answers, before = Answers(), earlier(shard)
    first = len(asked) if before.written else PILOT
    for part in (asked[:first], asked[first:]):
        outcomes = dict(client.stream_many([one.request for one in part]))
        for place, one in enumerate(part):
            take(answers, one, outcomes[place], command)
        check_format(command, answers, before.unparsed)
    bought = budget is not None and budget.spent.tokens > 0
    if answers.over is not None and answers.unasked == len(asked) and not before.written and not bought:
        raise answers.over
    return answers, tokens


@dataclass(frozen=True, slots=True)
class Earlier:
    """What finished shards of the stage have counted."""

    written: int
    unparsed: int


def earlier(shard: Shard) -> Earlier:
    """Shards that are done, whichever worker did them."""
    rows = list(shard.jobs.rows(shard.command.job_id, shard.command.stage))
    return Earlier(*(sum(row.counts.get(name, 0) for row in rows) for name in ("written", "unparsed")))


def take(answers: Answers, one: Asked, outcome: ChatAnswer | SenseError, command: WriteExamples) -> None:
    """Sorts one outcome in. Raises what is neither an answer nor a refusal."""
    if isinstance(outcome, LlmBudgetError):
        answers.unasked += 1
        answers.over = outcome
    elif isinstance(outcome, REFUSALS):
        answers.refused.append(refusal(one, outcome, command))
    elif isinstance(outcome, SenseError):
        raise outcome
    elif isinstance(row := read(one, outcome, command), Written):
        answers.written.append(row)
    else:
        answers.unparsed.append(row)


def read(one: Asked, answer: ChatAnswer, command: WriteExamples) -> Written | Rejected:
    """The example in an answer, or why there is none."""
    return read_answer(
        answer,
        level=one.level,
        split=command.split,
        seed=command.seed,
        model=command.model or "",
        seeds=one.seeds,
        prompt_hash=one.prompt_hash,
    )


def refusal(one: Asked, error: SenseError, command: WriteExamples) -> Rejected:
    """The endpoint would not answer this prompt: kept like an answer without an example."""
    provenance = Provenance(
        writer="llm",
        writer_version=PROMPT_VERSION,
        seed=command.seed,
        source=answer_key(answer_hash(command.endpoint or "", one.request)),
        model=command.model,
        prompt_hash=one.prompt_hash,
        seed_examples=one.seeds,
    )
    empty = Written(domain="", question="", sql="", split=command.split, level=one.level, provenance=provenance)
    return Rejected(reason=error.code.removeprefix("llm_"), detail=error.message, written=empty)


def check_format(command: WriteExamples, answers: Answers, before: int) -> None:
    """Ends a job whose model cannot do it, before it is paid for all of its answers."""
    tried = before + len(answers.unparsed)
    if answers.written or tried < PILOT or not answers.unparsed:
        return
    last = answers.unparsed[-1]
    raise FormatError(
        f"model {command.model!r} at endpoint {command.endpoint!r} followed the form (Domain, Schema, Question, "
        f"Answer) in none of {tried} answers; the last one, {last.written.provenance.source}: {last.detail}. "
        "Name another model; recorded answers stay"
    )
