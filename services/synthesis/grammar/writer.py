"""The grammar writer: examples without a model, the same bytes for the same arguments on any machine."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import cycle
from random import Random

from services.synthesis.grammar.draw import Draw
from services.synthesis.grammar.easy import EASY, Intent
from services.synthesis.grammar.hard import HARD
from services.synthesis.grammar.medium import MEDIUM
from services.synthesis.grammar.phrases import phrase
from services.synthesis.grammar.schema import load_domains
from services.synthesis.grammar.world import NoFit, World
from shared.contracts.records import Level, Provenance, Split, Written
from shared.errors import InvalidInputError

WRITER_VERSION = "grammar/1"
INTENTS: dict[Level, dict[str, Intent]] = {"easy": EASY, "medium": MEDIUM, "hard": HARD}
# How many draws are tried for one example before a repetition within the call is accepted.
PATIENCE = 400
# How many draws an intent gets before another one is taken: without them, the harder it is to fill the rarer it is.
STUBBORN = 12


def write_examples(*, seed: int, split: Split, shard: int, count: int, levels: Mapping[Level, float]) -> list[Written]:
    """Exactly `count` examples; level shares are met to the nearest whole example.

    Golds return rows, have no tie at a LIMIT or in an ORDER BY, and no part of a WHERE is idle. Domains take turns, so
    that a shard covers all of them evenly. Questions do not repeat within a call while new ones can be found. Raises
    InvalidInputError for a split without a grammar, a negative count, or shares that do not add up to more than 0.
    """
    rng = Random(f"grammar/{seed}/{split}/{shard}")
    worlds = _worlds(split, seed, rng)
    seen: set[tuple[str, str]] = set()
    return [_example(level, split, seed, worlds, rng, seen) for level in _quota(count, levels, rng)]


@lru_cache(maxsize=8)
def _furnished(split: Split, seed: int) -> tuple[World, ...]:
    """The split's domains with their rows; connections are opened later and by one call alone."""
    return tuple(World.build(domain, seed) for domain in load_domains(split))


def _worlds(split: Split, seed: int, rng: Random) -> Iterator[World]:
    worlds = [replace(world) for world in _furnished(split, seed)]
    rng.shuffle(worlds)
    return cycle(worlds)


def _quota(count: int, levels: Mapping[Level, float], rng: Random) -> list[Level]:
    """The level of each example, in random order: largest remainders, ties in the order easy, medium, hard."""
    total = sum(levels.values())
    if count < 0 or total <= 0 or min(levels.values()) < 0 or not set(levels) <= set(INTENTS):
        raise InvalidInputError("Ask for a count of 0 or more and give shares above 0 for levels easy, medium, hard.")
    shares = {level: count * levels.get(level, 0.0) / total for level in INTENTS}
    whole = {level: int(share + 1e-9) for level, share in shares.items()}
    rest = sorted(INTENTS, key=lambda level: whole[level] - shares[level])[: count - sum(whole.values())]
    quota = [level for level in INTENTS for _ in range(whole[level] + (level in rest))]
    rng.shuffle(quota)
    return quota


def _example(
    level: Level, split: Split, seed: int, worlds: Iterator[World], rng: Random, seen: set[tuple[str, str]]
) -> Written:
    world = next(worlds)
    intent = ""
    for tries in range(PATIENCE * 10):
        if tries % STUBBORN == 0:
            intent = rng.choice(list(INTENTS[level]))
        drawn = _draw(intent, level, world, split, rng)
        if drawn is None:
            continue
        source, question, sql = drawn
        if (world.domain.name, sql) in seen and tries < PATIENCE:
            continue
        seen.add((world.domain.name, sql))
        provenance = Provenance(writer="grammar", writer_version=WRITER_VERSION, seed=seed, source=source)
        return Written(
            domain=world.domain.name,
            split=split,
            level=level,
            question=question,
            sql=sql,
            database=world.database,
            provenance=provenance,
        )
    raise InvalidInputError(f"Domain {world.domain.name} gives no {level} example: describe more columns for it.")


def _draw(intent: str, level: Level, world: World, split: Split, rng: Random) -> tuple[str, str, str] | None:
    """(template id, question, gold), or None where the draw does not hold up."""
    try:
        filling = INTENTS[level][intent](Draw(world, rng))
        world.demand(filling)
    except NoFit:
        return None
    source, question = phrase(intent, split, filling.slots, rng)
    return source, question, filling.sql
