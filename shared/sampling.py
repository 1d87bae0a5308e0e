"""Draws candidate SQL for examples from a model: one way to prompt, seed and extract for all stages that do it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.catalog.databases import CardCache, SchemaCard
from shared.contracts.base import ObjectRef
from shared.contracts.records import Candidate, Example, Message, PromptStyle
from shared.errors import SenseError
from shared.llm.budgets import Budget, DayBudget, JobBudget
from shared.llm.call import SAMPLING
from shared.llm.client import ChatClient
from shared.llm.endpoints import ENGINE, EndpointProfile
from shared.llm.errors import LlmError
from shared.llm.messages import ChatAnswer, ChatRequest, Usage
from shared.sql.extraction import extract_sql
from shared.sql.prompt import render_messages
from shared.tasks.task import Shard

ENDING_COUNTS = ("cut_off", *(f"without_{name}" for name in SAMPLING))
Shot = tuple[SchemaCard, str, str]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a model is sampled; temperature 0 is greedy."""

    model: str
    samples: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    sample_rows: int
    style: PromptStyle = field(default_factory=PromptStyle)
    shots: Sequence[Shot] = field(default_factory=tuple)


@dataclass(slots=True)
class UsageTotals:
    """The cost of answers that were bought now; recorded answers cost nothing."""

    prompt: int = 0
    completion: int = 0
    usd: float = 0.0
    calls: int = 0
    seconds: float = 0.0

    def add(self, usage: Usage) -> None:
        if usage.cached:
            return
        self.prompt += usage.prompt_tokens
        self.completion += usage.completion_tokens
        self.usd += usage.usd or 0.0
        self.calls += 1
        self.seconds += usage.seconds

    def counts(self) -> dict[str, int]:
        """A shard's counts are integers: millionths of a dollar, and milliseconds of all calls together."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "micro_usd": round(self.usd * 1_000_000),
            "calls": self.calls,
            "call_ms": round(self.seconds * 1000),
        }


def count_endings(answers: Iterable[ChatAnswer], without_sql: int) -> dict[str, int]:
    """A shard's counts of answers cut off before any SQL (`without_sql`, from the caller) and of answers requested
    without a parameter that the endpoint does not accept.
    """
    omitted = Counter(name for answer in answers for name in answer.omitted for _ in answer.texts)
    return {"cut_off": without_sql, **{f"without_{name}": omitted[name] for name in SAMPLING}}


def describe_endings(counts: Mapping[str, int], setting: str) -> list[str]:
    """One sentence per kind of ending; `setting` is the spec's name for the token limit of an answer."""
    sentences = []
    if cut := counts.get("cut_off"):
        sentences.append(
            f"{cut} answers ended at their bound on tokens before any SQL, often while reasoning: raise {setting}"
        )
    for name in SAMPLING:
        if count := counts.get(f"without_{name}"):
            sentences.append(f"{count} answers were asked for without {name}, which the endpoint does not take")
    return sentences


def stage_budget(
    shard: Shard, endpoint: str | None, usd: float | None, tokens: int | None = None, *, scope: str = ""
) -> Budget | None:
    """The budget that all shards of this stage share, or all stages of the job with the same `scope`.

    At the operator's endpoints the day of the API key that submitted the job is charged too; our engine costs nothing.
    """
    command = shard.command
    holder, own = f"{command.stage}/{command.shard}", None
    if usd is not None or tokens is not None:
        where = (command.job_id, scope or command.stage, holder)
        own = JobBudget(shard.jobs, where, max_usd=usd, max_tokens=tokens)
    if endpoint == ENGINE or (owner := shard.jobs.owner(command.job_id)) is None:
        return own
    return DayBudget(shard.jobs, owner, f"{command.job_id}/{holder}", own)


def stable_seed(*parts: object) -> int:
    """31 bits that depend only on `parts` and are the same on every machine."""
    # The separator keeps ("a", "bc") apart from ("ab", "c").
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def render_example(example: Example, catalog: CardCache, sampling: SamplingParams) -> list[Message]:
    card = catalog.card(example.database_id)
    return render_messages(
        card,
        example.question,
        evidence=example.evidence,
        rows=sampling.sample_rows,
        style=sampling.style,
        shots=sampling.shots,
    )


def draw_candidates(
    shard: Shard,
    profile: EndpointProfile,
    examples: Sequence[Example],
    sampling: SamplingParams,
    budget: Budget | None = None,
    *,
    skip: tuple[type[LlmError], ...] = (),
) -> tuple[list[Candidate], UsageTotals, dict[str, int]]:
    """`sampling.samples` candidates per example, in the order of examples and slots, what they cost, and how the
    answers ended (`count_endings`). Raises the client's errors by cause.

    An example whose request ends in one of `skip` has no candidates; if that happens to all of them, the error is
    raised.
    """
    tokens = UsageTotals()
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    catalog = CardCache(shard.objects)
    requests = [
        ChatRequest(
            model=sampling.model,
            messages=render_example(example, catalog, sampling),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=stable_seed(sampling.seed, example.example_id),
            n=sampling.samples,
        )
        for example in examples
    ]
    outcomes = dict(client.stream_many(requests))
    # In the order of examples, so that the same error is raised whichever call ended first.
    failed = [outcome for _, outcome in sorted(outcomes.items()) if isinstance(outcome, SenseError)]
    hard = [error for error in failed if not isinstance(error, skip)]
    if hard or (failed and len(failed) == len(examples)):
        raise (hard or failed)[0]
    candidates: list[Candidate] = []
    answers: list[ChatAnswer] = []
    cut_off = 0
    for place, example in enumerate(examples):
        if isinstance(answer := outcomes[place], ChatAnswer):
            answers.append(answer)
            found = parse_candidates(example, answer, sampling)
            ends = zip(found, answer.finish_reasons, strict=True)
            cut_off += sum(one.sql is None and reason == "length" for one, reason in ends)
            candidates += found
    endings = count_endings(answers, cut_off)
    if sentences := describe_endings(endings, "weak.max_tokens or answer_tokens"):
        shard.progress(note="; ".join(sentences))
    return candidates, tokens, endings


def candidate_outputs(
    shard: Shard, examples: Sequence[Example], candidates: Sequence[Candidate]
) -> dict[str, ObjectRef]:
    return {
        # Judging reads both outputs and nothing else.
        "candidates": shard.write_records("candidates", candidates),
        "examples": shard.write_records("examples", examples),
    }


def parse_candidates(example: Example, answer: ChatAnswer, sampling: SamplingParams) -> list[Candidate]:
    return [
        Candidate(
            example_id=example.example_id,
            slot=slot,
            answer=text,
            # An answer that reasons first may quote other SQL before its last statement.
            sql=extract_sql(text, last=sampling.style.target == "reasoning_sql"),
            model=sampling.model,
            answer_key=answer.key,
            sample_rows=sampling.sample_rows,
        )
        for slot, text in enumerate(answer.texts)
    ]
