"""The grammar writer: examples without a model, the same bytes for the same arguments on any machine."""

import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from threading import Lock
from typing import Any, NamedTuple

import yaml

from services.synthesis.writers.grammar.database import DomainDatabase, NoFit
from services.synthesis.writers.grammar.domain import DATA, load_domains, sentence
from services.synthesis.writers.grammar.draw import Draw
from services.synthesis.writers.grammar.intents import Intent, intents_by_level, load_intents, steered_weight
from shared.contracts.records import Level, Provenance, Split, WrittenExample
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES


@lru_cache(maxsize=1)
def load_phrases() -> dict[str, dict[str, list[str]]]:
    """Templates by intent, then by "train" (training and selection) or "test"."""
    phrases: dict[str, Any] = {}
    for file in sorted(DATA.glob("phrases*.yaml")):
        phrases |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return phrases


def fill_phrase(intent: str, form: str, split: Split, slots: dict[str, str], rng: Random) -> tuple[str, str]:
    """(template id, question): "where/p3" of the intent's own phrases, "count_far/t1@count" of another form's."""
    group = "test" if split == "test" else "train"
    templates = load_phrases()[form or intent][group]
    place = rng.randrange(len(templates))
    mark = "t" if group == "test" else "p"
    borrowed = f"@{form}" if form and form != intent else ""
    return f"{intent}/{mark}{place + 1}{borrowed}", sentence(templates[place].format_map(slots))


load_intents()
INTENTS: dict[Level, dict[str, Intent]] = intents_by_level()
LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
# How many draws are tried for one example before its SQL may have the shape of an earlier one, or be an earlier one.
SHAPE_TRIES, GOLD_TRIES = 60, 400
# How many draws an intent gets before another one is taken: without them, the harder it is to fill the rarer it is.
TRIES_PER_INTENT = 12
# How many examples of a pool are kept for shards that come late or again.
KEPT_EXAMPLES = 256


class DrawnExample(NamedTuple):
    """Template id, question and gold."""

    source: str
    question: str
    sql: str


@dataclass(frozen=True)
class WeightedIntents:
    """The intents of a level with their weights, summed up for a quick choice."""

    level: Level
    intents: Sequence[Intent]
    sums: Sequence[float]

    @classmethod
    def of(cls, level: Level, features: Mapping[str, float]) -> "WeightedIntents":
        """All intents of a level by their weights times the factors.

        Raises InvalidInputError for a factor below 0, for a name that is no feature, and where nothing is left.
        """
        unknown = sorted(set(features) - set(FEATURES))
        if unknown or min(features.values(), default=0) < 0:
            raise InvalidInputError(
                f"Give factors of 0 or more for features of {', '.join(FEATURES)}; not for {unknown}."
            )
        intents = list(INTENTS[level].values())
        sums = list(accumulate(steered_weight(one, features) for one in intents))
        if sums[-1] <= 0:
            raise InvalidInputError(f"These feature factors leave no {level} intent: raise one that is 0.")
        return cls(level, intents, sums)


class ExampleStream:
    """Draws in order; a shape of SQL comes once as long as new ones can be found, then a gold does."""

    def __init__(self, world: DomainDatabase, split: Split, menu: WeightedIntents, key: str) -> None:
        """`key` seeds the order."""
        self.world = world
        self.split = split
        self.menu = menu
        self.key = key
        self.lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self.rng = Random(self.key)
        self.drawn = 0
        self.recent: deque[DrawnExample] = deque(maxlen=KEPT_EXAMPLES)
        self.seen: set[int] = set()

    def get(self, place: int) -> DrawnExample:
        """The example at a place, counted from 0. Raises InvalidInputError where the domain gives none at the level."""
        with self.lock:
            if place < self.drawn - len(self.recent):
                self._begin()
            while self.drawn <= place:
                self.recent.append(self._next())
                self.drawn += 1
            return self.recent[place - self.drawn]

    def _next(self) -> DrawnExample:
        entry = self.menu.intents[0]
        for tries in range(GOLD_TRIES * 10):
            if tries % TRIES_PER_INTENT == 0:
                entry = self.rng.choices(self.menu.intents, cum_weights=self.menu.sums)[0]
            found = self._try(entry)
            if found is not None and self._is_new(found.sql, tries):
                return found
        name = self.world.domain.name
        raise InvalidInputError(f"Domain {name} gives no {self.menu.level} example: describe more columns for it.")

    def _try(self, entry: Intent) -> DrawnExample | None:
        """One draw of an intent, or None where it does not hold up."""
        try:
            filling = entry.fill(Draw(self.world, self.rng))
            self.world.demand(filling)
        except NoFit:
            return None
        source, question = fill_phrase(entry.name, filling.form, self.split, filling.slots, self.rng)
        return DrawnExample(source, question, filling.sql)

    def _is_new(self, sql: str, tries: int) -> bool:
        """Whether the gold may stand; its hashes are remembered then. The longer the search, the less is asked."""
        shape, gold = hash(LITERAL.sub("?", sql)), hash(sql)
        if (shape in self.seen and tries < SHAPE_TRIES) or (gold in self.seen and tries < GOLD_TRIES):
            return False
        self.seen |= {shape, gold}
        return True


WRITER_VERSION = "grammar/2"


def write_examples(
    *,
    seed: int,
    split: Split,
    shard: int,
    count: int,
    levels: Mapping[Level, float],
    features: Mapping[str, float] | None = None,
) -> list[WrittenExample]:
    """Exactly `count` examples; level shares are met to the nearest whole example.

    Golds return rows, have no tie at a LIMIT or in an ORDER BY, and no part of a WHERE is idle. At each level domains
    take turns. Shards of one count and one seed share out one order of examples, in which no shape of SQL comes twice
    for a domain as long as new ones can be found. `features` are factors on the weights of the intents that use an SQL
    feature (names of `shared.sql.features`): 2 asks twice as often for it, 0 never. Raises InvalidInputError for a
    split without a grammar, a negative count, shares that do not add up to more than 0, or factors that leave nothing.
    """
    factors = tuple(sorted((features or {}).items()))
    quota = _quota(count, levels)
    domains = [domain.name for domain in load_domains(split)]
    Random(f"domains/{seed}/{split}").shuffle(domains)
    rows = []
    for turn, level in enumerate(INTENTS):
        for place in range(shard * quota[level], (shard + 1) * quota[level]):
            # Levels start a third of the way apart, so that a small shard meets as many domains as it can.
            domain = domains[(place + turn * len(domains) // len(INTENTS)) % len(domains)]
            pool = _stream(split, seed, count, domain, level, factors)
            rows.append(_written(pool, pool.get(place // len(domains)), seed))
    Random(f"grammar/{seed}/{split}/{shard}").shuffle(rows)
    return rows


@lru_cache(maxsize=256)
def _database(split: Split, seed: int, name: str) -> DomainDatabase:
    """A domain with its rows."""
    return DomainDatabase.build(next(domain for domain in load_domains(split) if domain.name == name), seed)


@lru_cache(maxsize=512)
def _stream(
    split: Split, seed: int, count: int, name: str, level: Level, factors: tuple[tuple[str, float], ...]
) -> ExampleStream:
    """The order of one domain at one level. Shards of another size, such as a job's last one, have one of their own."""
    key = f"grammar/{seed}/{split}/{count}/{name}/{level}/{factors}"
    return ExampleStream(_database(split, seed, name), split, _weighted_intents(level, factors), key)


@lru_cache(maxsize=32)
def _weighted_intents(level: Level, factors: tuple[tuple[str, float], ...]) -> WeightedIntents:
    return WeightedIntents.of(level, dict(factors))


def _quota(count: int, levels: Mapping[Level, float]) -> Counter[Level]:
    """How many examples of each level: largest remainders, ties in the order easy, medium, hard."""
    total = sum(levels.values())
    if count < 0 or total <= 0 or min(levels.values()) < 0 or not set(levels) <= set(INTENTS):
        raise InvalidInputError("Ask for a count of 0 or more and give shares above 0 for levels easy, medium, hard.")
    shares = {level: count * levels.get(level, 0.0) / total for level in INTENTS}
    whole = {level: int(share + 1e-9) for level, share in shares.items()}
    rest = sorted(INTENTS, key=lambda level: whole[level] - shares[level])[: count - sum(whole.values())]
    return Counter({level: whole[level] + (level in rest) for level in INTENTS})


def _written(pool: ExampleStream, drawn: DrawnExample, seed: int) -> WrittenExample:
    """A drawn example with its database and its provenance."""
    return WrittenExample(
        domain=pool.world.domain.name,
        split=pool.split,
        level=pool.menu.level,
        question=drawn.question,
        sql=drawn.sql,
        database=pool.world.database,
        provenance=Provenance(writer="grammar", writer_version=WRITER_VERSION, seed=seed, source=drawn.source),
    )
