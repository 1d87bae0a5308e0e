"""The examples of one domain at one level, in an order that the seed fixes.

A shard takes its part of that order, whoever else takes the others: so shards that know nothing of each other do not
write the same SQL twice. What lies before that part has to be drawn too, once a process; it is not kept, so that memory
does not grow with a job.
"""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from threading import Lock
from typing import NamedTuple

from services.synthesis.grammar.draw import Draw
from services.synthesis.grammar.intent import Intent, by_level, steered
from services.synthesis.grammar.intents import load_intents
from services.synthesis.grammar.phrases import phrase
from services.synthesis.grammar.world import NoFit, World
from shared.contracts.records import Level, Split
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES

load_intents()
INTENTS: dict[Level, dict[str, Intent]] = by_level()
LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
# How many draws are tried for one example before its SQL may have the shape of an earlier one, or be an earlier one.
PATIENCE, LAST_PATIENCE = 60, 400
# How many draws an intent gets before another one is taken: without them, the harder it is to fill the rarer it is.
STUBBORN = 12
# How many examples of a pool are kept for shards that come late or again.
KEPT = 256


class Drawn(NamedTuple):
    """Template id, question and gold."""

    source: str
    question: str
    sql: str


@dataclass(frozen=True)
class Menu:
    """The intents of a level with their weights, summed up for a quick choice."""

    level: Level
    intents: Sequence[Intent]
    sums: Sequence[float]

    @classmethod
    def of(cls, level: Level, features: Mapping[str, float]) -> "Menu":
        """All intents of a level by their weights times the factors.

        Raises InvalidInputError for a factor below 0, for a name that is no feature, and where nothing is left.
        """
        unknown = sorted(set(features) - set(FEATURES))
        if unknown or min(features.values(), default=0) < 0:
            raise InvalidInputError(
                f"Give factors of 0 or more for features of {', '.join(FEATURES)}; not for {unknown}."
            )
        intents = list(INTENTS[level].values())
        sums = list(accumulate(steered(one, features) for one in intents))
        if sums[-1] <= 0:
            raise InvalidInputError(f"These feature factors leave no {level} intent: raise one that is 0.")
        return cls(level, intents, sums)


class Pool:
    """Draws in order; a shape of SQL comes once as long as new ones can be found, then a gold does."""

    def __init__(self, world: World, split: Split, menu: Menu, key: str) -> None:
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
        self.recent: deque[Drawn] = deque(maxlen=KEPT)
        self.seen: set[int] = set()

    def get(self, place: int) -> Drawn:
        """The example at a place, counted from 0. Raises InvalidInputError where the domain gives none at the level."""
        with self.lock:
            if place < self.drawn - len(self.recent):
                self._begin()
            while self.drawn <= place:
                self.recent.append(self._next())
                self.drawn += 1
            return self.recent[place - self.drawn]

    def _next(self) -> Drawn:
        entry = self.menu.intents[0]
        for tries in range(LAST_PATIENCE * 10):
            if tries % STUBBORN == 0:
                entry = self.rng.choices(self.menu.intents, cum_weights=self.menu.sums)[0]
            found = self._try(entry)
            if found is not None and self._is_new(found.sql, tries):
                return found
        name = self.world.domain.name
        raise InvalidInputError(f"Domain {name} gives no {self.menu.level} example: describe more columns for it.")

    def _try(self, entry: Intent) -> Drawn | None:
        """One draw of an intent, or None where it does not hold up."""
        try:
            filling = entry.fill(Draw(self.world, self.rng))
            self.world.demand(filling)
        except NoFit:
            return None
        source, question = phrase(entry.name, filling.form, self.split, filling.slots, self.rng)
        return Drawn(source, question, filling.sql)

    def _is_new(self, sql: str, tries: int) -> bool:
        """Whether the gold may stand; its hashes are remembered then. The longer the search, the less is asked."""
        shape, gold = hash(LITERAL.sub("?", sql)), hash(sql)
        if (shape in self.seen and tries < PATIENCE) or (gold in self.seen and tries < LAST_PATIENCE):
            return False
        self.seen |= {shape, gold}
        return True
