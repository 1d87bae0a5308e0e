"""Asks the strong model for a shard's examples: what it gave, what it refused, what was not asked for any more."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.synthesis.llm_writer import Call, lost, read_answer
from services.synthesis.steer import used_as_asked
from shared.contracts.records import Rejected, Written
from shared.contracts.synthesis import WriteExamples, WrittenCounts
from shared.errors import SenseError
from shared.llm.client import ChatClient
from shared.llm.endpoints import EndpointProfile, load_profile
from shared.llm.errors import LlmBudgetError, LlmContentFilterError, LlmContextLengthError
from shared.llm.messages import ChatAnswer, answer_hash
from shared.sampling import UsageTotals, count_endings, stage_budget
from shared.storage.keys import answer_key
from shared.tasks.task import Shard

PILOT = 24  # answers after which a model that never follows the form is asked no more
SCOPE = "write"  # all writing stages of a job share the strong model's budget
CUT_OFF = "answer_cut_off"
REFUSALS = (LlmContentFilterError, LlmContextLengthError)


class FormatError(SenseError):
    """The model answers, and never in the form that was asked for."""

    code = "format_not_followed"
    http_status = 422


@dataclass(slots=True)
class Answers:
    """Rows in the order of the requests."""

    written: list[Written] = field(default_factory=list)
    unparsed: list[Rejected] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)
    unasked: int = 0
    followed: int = 0
    worth: dict[str, int] = field(default_factory=dict)
    endings: dict[str, int] = field(default_factory=dict)
    over: LlmBudgetError | None = None

    @property
    def rejected(self) -> list[Rejected]:
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


def ask_strong(command: WriteExamples, shard: Shard, asked: Sequence[Call]) -> tuple[Answers, UsageTotals]:
    """Every request's row. While nothing was ever parsed, a few are asked first.

    Raises the client's errors by cause, `FormatError`, and `LlmBudgetError` where the budget buys nothing at all.
    """
    tokens = UsageTotals()
    budget = stage_budget(shard, command.endpoint, command.budget_usd, command.budget_tokens, scope=SCOPE)
    profile = load_profile(command.endpoint or "")
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    answers, before = Answers(), earlier(shard)
    used: list[ChatAnswer] = []
    first = len(asked) if before.written else PILOT
    for part in (asked[:first], asked[first:]):
        outcomes = dict(client.stream_many([one.request for one in part]))
        for place, one in enumerate(part):
            take(answers, one, outcomes[place], profile)
            used += [outcome] if isinstance(outcome := outcomes[place], ChatAnswer) else []
        check_format(command, answers, before.unparsed)
    answers.worth = worth(profile, used)
    answers.endings = count_endings(used, sum(one.reason == CUT_OFF for one in answers.unparsed))
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
    counts = shard.jobs.sums(shard.command.job_id, shard.command.stage).counts
    return Earlier(counts.get("written", 0), counts.get("unparsed", 0))


def take(answers: Answers, one: Call, outcome: ChatAnswer | SenseError, endpoint: EndpointProfile) -> None:
    """Sorts one outcome in. Raises what is neither an answer nor a refusal."""
    if isinstance(outcome, LlmBudgetError):
        answers.unasked += 1
        answers.over = outcome
    elif isinstance(outcome, REFUSALS):
        answers.refused.append(refusal(one, outcome, endpoint))
    elif isinstance(outcome, SenseError):
        raise outcome
    elif isinstance(row := read_answer(outcome, one), Written):
        answers.written.append(row)
        answers.followed += used_as_asked([row], [one.feature])
    else:
        answers.unparsed.append(row)


def refusal(one: Call, error: SenseError, endpoint: EndpointProfile) -> Rejected:
    """The endpoint would not answer this prompt: kept like an answer without an example, under its key."""
    source = answer_key(answer_hash(endpoint.name, one.request, endpoint.changes))
    return lost(one, error.code.removeprefix("llm_"), error.message, source)


def check_format(command: WriteExamples, answers: Answers, before: int) -> None:
    """Ends a job whose model cannot do it, before it is paid for all of its answers."""
    tried = before + len(answers.unparsed)
    if answers.written or tried < PILOT or not answers.unparsed:
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
