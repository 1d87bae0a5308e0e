"""Asking a model the questions of examples: the same rendering, seeds and extraction wherever it is done."""

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
    """How a model is asked; temperature 0 is greedy."""

    model: str
    samples: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    prompt_rows: int
    style: PromptStyle = field(default_factory=PromptStyle)
    shots: Sequence[Shot] = field(default_factory=tuple)


@dataclass(slots=True)
class UsageTotals:
    """What answers cost that were bought now; recorded answers cost nothing."""

    prompt: int = 0
    completion: int = 0
    usd: float = 0.0
    calls: int = 0
    seconds: float = 0.0

    def add(self, usage: Usage) -> None:
        """Counts one answer."""
        if usage.cached:
            return
        self.prompt += usage.prompt_tokens
        self.completion += usage.completion_tokens
        self.usd += usage.usd or 0.0
        self.calls += 1
        self.seconds += usage.seconds

    def counts(self) -> dict[str, int]:
        """The fields of a shard's counts, whole numbers: millionths of a dollar; milliseconds of all calls together."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "micro_usd": round(self.usd * 1_000_000),
            "calls": self.calls,
            "call_ms": round(self.seconds * 1000),
        }


def count_endings(answers: Iterable[ChatAnswer], without_sql: int) -> dict[str, int]:
    """How answers came about, as fields of a shard's counts: those cut off before any SQL (`without_sql`, counted by
    the caller), and those that the endpoint was asked for without a parameter that it does not take."""
    left_out = Counter(name for answer in answers for name in answer.left_out for _ in answer.texts)
    return {"cut_off": without_sql, **{f"without_{name}": left_out[name] for name in SAMPLING}}


def describe_endings(counts: Mapping[str, int], setting: str) -> list[str]:
    """The same in sentences; `setting` is the bound on an answer's tokens, as the spec has it."""
    said = []
    if cut := counts.get("cut_off"):
        said.append(
            f"{cut} answers ended at their bound on tokens before any SQL, often while reasoning: raise {setting}"
        )
    for name in SAMPLING:
        if count := counts.get(f"without_{name}"):
            said.append(f"{count} answers were asked for without {name}, which the endpoint does not take")
    return said


def stage_budget(
    shard: Shard, endpoint: str | None, usd: float | None, tokens: int | None = None, *, scope: str = ""
) -> Budget | None:
    """The cap that all shards of this shard's stage share, or all stages of one `scope` of its job.

    At the operator's endpoints the day of the key that submitted the job is charged too; the engine costs nothing.
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
    """31 bits that depend on the parts alone, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def render_example(example: Example, catalog: CardCache, asking: SamplingParams) -> list[Message]:
    """The messages for one example."""
    card = catalog.card(example.database_id)
    return render_messages(
        card,
        example.question,
        evidence=example.evidence,
        rows=asking.prompt_rows,
        style=asking.style,
        shots=asking.shots,
    )


def draw_candidates(
    shard: Shard,
    profile: EndpointProfile,
    examples: Sequence[Example],
    asking: SamplingParams,
    budget: Budget | None = None,
    *,
    skip: tuple[type[LlmError], ...] = (),
) -> tuple[list[Candidate], UsageTotals, dict[str, int]]:
    """`asking.samples` candidates an example, in example and slot order, what was paid, and how the answers came about
    (`count_endings`). Raises the client's errors by cause.

    An example whose request ends in one of `skip` has no candidates; where that is every example's end, it is raised.
    """
    tokens = UsageTotals()
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    catalog = CardCache(shard.objects)
    requests = [
        ChatRequest(
            model=asking.model,
            messages=render_example(example, catalog, asking),
            temperature=asking.temperature,
            top_p=asking.top_p,
            max_tokens=asking.max_tokens,
            seed=stable_seed(asking.seed, example.example_id),
            n=asking.samples,
        )
        for example in examples
    ]
    outcomes = dict(client.stream_many(requests))
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
            found = parse_candidates(example, answer, asking)
            ends = zip(found, answer.finish_reasons, strict=True)
            cut_off += sum(one.sql is None and reason == "length" for one, reason in ends)
            candidates += found
    endings = count_endings(answers, cut_off)
    if said := describe_endings(endings, "weak.max_tokens or answer_tokens"):
        shard.progress(note="; ".join(said))
    return candidates, tokens, endings


def candidate_outputs(
    shard: Shard, examples: Sequence[Example], candidates: Sequence[Candidate]
) -> dict[str, ObjectRef]:
    """A shard's candidates, with the examples they answer: judging then needs nothing else."""
    return {
        "candidates": shard.write_records("candidates", candidates),
        "examples": shard.write_records("examples", examples),
    }


def parse_candidates(example: Example, answer: ChatAnswer, asking: SamplingParams) -> list[Candidate]:
    """One candidate a sample."""
    return [
        Candidate(
            example_id=example.example_id,
            slot=slot,
            answer=text,
            sql=extract_sql(text, last=asking.style.target == "reasoning_sql"),
            model=asking.model,
            answer_key=answer.key,
            clipped_rows=asking.prompt_rows,
        )
        for slot, text in enumerate(answer.texts)
    ]
