"""The LLM writer: the paper's prompt, two random seed examples a call, one example an answer."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from services.synthesis.history import EMPTY, History
from services.synthesis.own import Own
from services.synthesis.parse import ParsedAnswer, UnparsableError, parse_answer
from services.synthesis.seeds import Seed, SeedSet, builtin_seeds, show_seed
from services.synthesis.shares import Place, share_places
from services.synthesis.steer import Wanted, asking, own_wish
from shared.contracts.records import Level, Message, Provenance, Rejected, Split, Written
from shared.contracts.synthesis import WriteExamples
from shared.llm.messages import ChatAnswer, ChatRequest
from shared.sampling import stable_seed

PROMPT_VERSION = "strong-v2"
PROMPTS = Path(__file__).parent / "prompts" / PROMPT_VERSION
ASKED_BEFORE = 12  # questions on the same database that a prompt names, so that they are not asked again


@dataclass(frozen=True)
class Known:
    """What calls are made from beside the command: seeds, what the collection has, the user's databases."""

    seeds: SeedSet = field(default_factory=builtin_seeds)
    history: History = EMPTY
    owns: Sequence[Own] = ()


@dataclass(frozen=True)
class Call:
    """One call and what its example is known to be, whatever the answer; `feature` was wished for."""

    request: ChatRequest
    level: Level
    split: Split
    provenance: Provenance
    own: Own | None = None
    reasoning: bool = False
    feature: str | None = None


@cache
def prompt_part(name: str) -> str:
    """A file of the prompt's version."""
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8")


def make_calls(command: WriteExamples, known: Known, wish: Wanted | None = None) -> list[Call]:
    """The calls of a shard, in order: the same for the same command, the same completed waves and wishes."""
    wish = wish or own_wish(command)
    own_share = command.own_share if known.owns else 0.0
    places = share_places(wish.levels, own_share, command.shard, command.count)
    features = wish.draw(command)
    return [make_call(command, number, place, known, features[number]) for number, place in enumerate(places)]


def make_call(command: WriteExamples, number: int, place: Place, known: Known, feature: str | None = None) -> Call:
    """The call for one example; the wish for a feature ends its prompt."""
    rng = random.Random(stable_seed(command.seed, command.split, command.shard, number))
    seeds = known.seeds.draw(rng)
    own = known.owns[place.number % len(known.owns)] if place.own else None
    text = own_text(command, place.level, seeds, own, known, rng) if own else new_text(command, place, seeds, known)
    text += asking(feature)
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


def shown(seeds: Sequence[Seed], command: WriteExamples) -> str:
    """Seeds with the parts that are asked for."""
    wanted = {"evidence": command.evidence, "reasoning": command.target == "reasoning_sql"}
    return "\n\n".join(show_seed(seed, **wanted) for seed in seeds)


def form(command: WriteExamples, first: int, headings: list[str]) -> dict[str, str]:
    """Parts of the answer beyond the paper's four, numbered from `first`, and the headings in their order."""
    wanted = [("evidence", command.evidence), ("reasoning", command.target == "reasoning_sql")]
    names = [name for name, asked in wanted if asked]
    lines = [f"{first + place}. {prompt_part(name).strip()}\n" for place, name in enumerate(names)]
    labels = [f"{name.capitalize()}:" for name in [*headings, *names]]
    return {
        "more": "".join(lines),
        "last": str(first + len(names)),
        "headings": f"{', '.join(labels)} and Answer:",
    }


def new_text(command: WriteExamples, place: Place, seeds: Sequence[Seed], known: Known) -> str:
    """The prompt for an invented database. Domains to avoid: the paper's, the seeds', and what is common by now."""
    taken = list(dict.fromkeys([*sorted({seed.domain for seed in seeds}), *known.history.common()]))
    return prompt_part("new").format(
        level=place.level,
        taken=", ".join(taken),
        examples=shown(seeds, command),
        **form(command, 4, ["domain", "schema", "question"]),
    )


def own_text(
    command: WriteExamples, level: Level, seeds: Sequence[Seed], own: Own, known: Known, rng: random.Random
) -> str:
    """The prompt for a database of the user's; a table is drawn, so that questions spread over the schema."""
    asked = known.history.questions.get(own.card.database_id, [])
    before = "\n".join(f"- {question}" for question in rng.sample(asked, min(ASKED_BEFORE, len(asked))))
    return prompt_part("own").format(
        level=level,
        examples=shown(seeds, command),
        schema=own.schema(),
        values=own.values(),
        focus=rng.choice(own.tables or [table.name for table in own.card.tables]),
        asked=f"Questions that the collection has already, not to be asked again:\n{before}\n\n" if before else "",
        **form(command, 2, ["question"]),
    )


def read_answer(answer: ChatAnswer, call: Call) -> Written | Rejected:
    """The example in an answer, or why there is none; the answer itself stays under its key."""
    provenance = call.provenance.model_copy(update={"source": answer.key})
    try:
        parsed = parse_answer(answer.texts[0], own=call.own is not None, finish_reason=answer.finish_reasons[0])
    except UnparsableError as error:
        return lost(call, error.reason, str(error), answer.key)
    return written(call, parsed, provenance)


def written(call: Call, parsed: ParsedAnswer, provenance: Provenance) -> Written:
    """The example; for a database of the user's there is nothing to build."""
    return Written(
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


def lost(call: Call, reason: str, detail: str, source: str = "") -> Rejected:
    """A call that gave no example, kept with its reason."""
    empty = Written(
        domain=call.own.name if call.own else "",
        split=call.split,
        level=call.level,
        question="",
        sql="",
        database_id=call.own.card.database_id if call.own else None,
        provenance=call.provenance.model_copy(update={"source": source}),
    )
    return Rejected(reason=reason, detail=detail, written=empty)
