"""The grammar writer: examples without a model, the same bytes for the same arguments on any machine."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate, cycle
from random import Random

from services.synthesis.grammar.draw import Draw
from services.synthesis.grammar.intent import Intent, by_level, steered
from services.synthesis.grammar.intents import load_intents
from services.synthesis.grammar.phrases import phrase
from services.synthesis.grammar.schema import load_domains
from services.synthesis.grammar.world import NoFit, World
from shared.contracts.records import Level, Provenance, Split, Written
from shared.errors import InvalidInputError

WRITER_VERSION = "grammar/2"
load_intents()
INTENTS: dict[Level, dict[str, Intent]] = by_level()
LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
# How many draws are tried for one example before its SQL may have the shape of an earlier one, or be an earlier one.
PATIENCE, LAST_PATIENCE = 60, 400
# How many draws an intent gets before another one is taken: without them, the harder it is to fill the rarer it is.
STUBBORN = 12


@dataclass
class Page:
    """What one call draws from and has written: its chance, its worlds in turn, and the golds so far."""

    split: Split
    seed: int
    rng: Random
    worlds: Iterator[World]
    menus: Mapping[Level, "Menu"]
    golds: set[tuple[str, str]] = field(default_factory=set)
    shapes: set[tuple[str, str]] = field(default_factory=set)

    def is_new(self, domain: str, sql: str, tries: int) -> bool:
        """Whether the gold may stand; it is remembered then. The longer the search, the less is asked."""
        shape = (domain, LITERAL.sub("?", sql))
        if (shape in self.shapes and tries < PATIENCE) or ((domain, sql) in self.golds and tries < LAST_PATIENCE):
            return False
        self.shapes.add(shape)
        self.golds.add((domain, sql))
        return True


@dataclass(frozen=True)
class Menu:
    """The intents of a level with their weights, summed up for a quick choice."""

    intents: Sequence[Intent]
    sums: Sequence[float]

    @classmethod
    def of(cls, level: Level, features: Mapping[str, float]) -> "Menu":
        """All intents of a level; those whose factors leave nothing of their weight are never taken."""
        intents = list(INTENTS[level].values())
        sums = list(accumulate(steered(one, features) for one in intents))
        if sums[-1] <= 0:
            raise InvalidInputError(f"These feature factors leave no {level} intent: raise one that is 0.")
        return cls(intents, sums)


def write_examples(
    *,
    seed: int,
    split: Split,
    shard: int,
    count: int,
    levels: Mapping[Level, float],
    features: Mapping[str, float] | None = None,
) -> list[Written]:
    """Exactly `count` examples; level shares are met to the nearest whole example.

    Golds return rows, have no tie at a LIMIT or in an ORDER BY, and no part of a WHERE is idle. Domains take turns, so
    that a shard covers all of them evenly. Shapes of SQL, and questions, do not repeat within a call while new ones can
    be found. `features` are factors on the weights of intents that use an SQL feature (`shared.sql.features`): 2 asks
    twice as often for it, 0 never. Raises InvalidInputError for a split without a grammar, a negative count, shares
    that do not add up to more than 0, or factors that leave a level without intents.
    """
    rng = Random(f"grammar/{seed}/{split}/{shard}")
    menus = {level: Menu.of(level, features or {}) for level in INTENTS if levels.get(level)}
    page = Page(split, seed, rng, _worlds(split, seed, rng), menus)
    return [_example(level, page) for level in _quota(count, levels, rng)]


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


def _example(level: Level, page: Page) -> Written:
    """One example of the next world."""
    world, menu = next(page.worlds), page.menus[level]
    entry = menu.intents[0]
    for tries in range(LAST_PATIENCE * 10):
        if tries % STUBBORN == 0:
            entry = page.rng.choices(menu.intents, cum_weights=menu.sums)[0]
        drawn = _draw(entry, world, page)
        if drawn is None or not page.is_new(world.domain.name, drawn[2], tries):
            continue
        source, question, sql = drawn
        return Written(
            domain=world.domain.name,
            split=page.split,
            level=level,
            question=question,
            sql=sql,
            database=world.database,
            provenance=Provenance(writer="grammar", writer_version=WRITER_VERSION, seed=page.seed, source=source),
        )
    raise InvalidInputError(f"Domain {world.domain.name} gives no {level} example: describe more columns for it.")


def _draw(entry: Intent, world: World, page: Page) -> tuple[str, str, str] | None:
    """(template id, question, gold), or None where the draw does not hold up."""
    try:
        filling = entry.fill(Draw(world, page.rng))
        world.demand(filling)
    except NoFit:
        return None
    source, question = phrase(entry.name, filling.form, page.split, filling.slots, page.rng)
    return source, question, filling.sql
