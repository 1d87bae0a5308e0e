"""The grammar writer: examples without a model, the same bytes for the same arguments on any machine.

Each domain has an endless stream of examples at each level, in an order that the seed fixes. A shard takes its part of
that order, whoever takes the rest: shards that know nothing of each other do not write the same SQL twice.
"""

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

from services.synthesis.steering import WritingGoals, count_followed, distribute_levels
from services.synthesis.writers.grammar.database import DomainDatabase, NoFit
from services.synthesis.writers.grammar.domain import DATA, load_domains, sentence
from services.synthesis.writers.grammar.draw import Draw
from services.synthesis.writers.grammar.intents import Intent, intents_by_level, load_intents, steered_weight
from shared.contracts.records import Level, Provenance, Split, WrittenExample
from shared.contracts.synthesis import WriteExamples
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES, sql_features

WRITER_VERSION = "grammar/2"
load_intents()
INTENTS: dict[Level, dict[str, Intent]] = intents_by_level()
LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
# Draws tried for one example before its SQL may have the shape of an earlier one, or be an earlier one.
SHAPE_TRIES, GOLD_TRIES = 60, 400
# Draws before another intent is taken. With one draw each, the harder an intent is to fill the rarer it would be.
TRIES_PER_INTENT = 12
KEPT_EXAMPLES = 256  # the last ones of a stream, for shards that come late or again
# With wishes for features, six times as many examples are written as are wanted, their intents made likelier. That
# meets more wishes than twelve times as many at the usual weights (often twice as many, where only hard golds use a
# feature), in about the same time.
OVERDRAW = 6
MAX_FACTOR = 40.0  # on the intents of a feature that all wishes are for


def write_to_goals(
    command: WriteExamples, goals: WritingGoals, features: Sequence[str | None]
) -> tuple[list[WrittenExample], int]:
    """One example for each drawn feature, and how many of them use it."""
    weights = {name: goals.features[name] for name in FEATURES if goals.features.get(name)}
    total = sum(weights.values())
    steered = any(features)
    pool = write_examples(
        seed=command.seed,
        split=command.split,
        shard=command.shard,
        count=len(features) * (OVERDRAW if steered else 1),
        levels=goals.levels,
        # The factors of all wished features add up to MAX_FACTOR, besides 1 each.
        features={name: 1 + MAX_FACTOR * weight / total for name, weight in weights.items()},
    )
    return pick_examples(pool, goals, features) if steered else (pool, 0)


def pick_examples(
    pool: Sequence[WrittenExample], goals: WritingGoals, features: Sequence[str | None]
) -> tuple[list[WrittenExample], int]:
    """One example of the pool for each feature, levels by their shares; and how many use the feature drawn for them.

    The best match has level and feature, then the feature at another level, then the level alone. So a feature that the
    grammar cannot write is replaced by one that it can. Ties go by the pool's order, so that equal pools give equal
    picks.
    """
    used = [sql_features(one.sql).used for one in pool]
    left = list(range(len(pool)))
    picked: list[int] = []
    for level, feature in zip(distribute_levels(goals.levels, len(features)), features, strict=True):
        best = max(left, key=lambda at: (feature in used[at], pool[at].level == level, -at))
        left.remove(best)
        picked.append(best)
    examples = [pool[at] for at in picked]
    return examples, count_followed(examples, features)


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
    feature (names of `shared.sql.features`): 2 draws them twice as often, 0 never. Raises InvalidInputError for a split
    without a grammar, a negative count, shares that do not add up to more than 0, or factors that leave nothing.
    """
    factors = tuple(sorted((features or {}).items()))
    quota = _quota(count, levels)
    domains = [domain.name for domain in load_domains(split)]
    Random(f"domains/{seed}/{split}").shuffle(domains)
    examples = []
    for turn, level in enumerate(INTENTS):
        for place in range(shard * quota[level], (shard + 1) * quota[level]):
            # Levels start a third of the way apart, so that a small shard meets as many domains as it can.
            domain = domains[(place + turn * len(domains) // len(INTENTS)) % len(domains)]
            stream = _stream(split, seed, count, domain, level, factors)
            drawn = stream.get(place // len(domains))
            examples.append(
                WrittenExample(
                    domain=domain,
                    split=split,
                    level=level,
                    question=drawn.question,
                    sql=drawn.sql,
                    database=stream.database.script,
                    provenance=Provenance(
                        writer="grammar", writer_version=WRITER_VERSION, seed=seed, source=drawn.template
                    ),
                )
            )
    # Drawn level by level above; readers get them mixed.
    Random(f"grammar/{seed}/{split}/{shard}").shuffle(examples)
    return examples


def _quota(count: int, levels: Mapping[Level, float]) -> Counter[Level]:
    """How many examples of each level: largest remainders, ties in the order easy, medium, hard."""
    total = sum(levels.values())
    if count < 0 or total <= 0 or min(levels.values()) < 0 or not set(levels) <= set(INTENTS):
        raise InvalidInputError("Ask for a count of 0 or more and give shares above 0 for levels easy, medium, hard.")
    shares = {level: count * levels.get(level, 0.0) / total for level in INTENTS}
    # 1e-9 makes up for what floating point loses.
    whole = {level: int(share + 1e-9) for level, share in shares.items()}
    rest = sorted(INTENTS, key=lambda level: whole[level] - shares[level])[: count - sum(whole.values())]
    return Counter({level: whole[level] + (level in rest) for level in INTENTS})


@lru_cache(maxsize=256)
def _database(split: Split, seed: int, name: str) -> DomainDatabase:
    return DomainDatabase.build(next(domain for domain in load_domains(split) if domain.name == name), seed)


@lru_cache(maxsize=512)
def _stream(
    split: Split, seed: int, count: int, name: str, level: Level, factors: tuple[tuple[str, float], ...]
) -> "ExampleStream":
    """The stream of one domain at one level. Shards of another size, such as a job's last one, have their own."""
    key = f"grammar/{seed}/{split}/{count}/{name}/{level}/{factors}"
    return ExampleStream(_database(split, seed, name), split, _weighted_intents(level, factors), key)


@dataclass(frozen=True)
class WeightedIntents:
    """The intents of a level with their cumulative weights."""

    level: Level
    intents: Sequence[Intent]
    cumulative: Sequence[float]


@lru_cache(maxsize=32)
def _weighted_intents(level: Level, factors: tuple[tuple[str, float], ...]) -> WeightedIntents:
    """Raises InvalidInputError for a factor below 0, for a name that is no feature, and where nothing is left."""
    by_feature = dict(factors)
    unknown = sorted(set(by_feature) - set(FEATURES))
    if unknown or min(by_feature.values(), default=0) < 0:
        raise InvalidInputError(f"Give factors of 0 or more for features of {', '.join(FEATURES)}; not for {unknown}.")
    intents = list(INTENTS[level].values())
    cumulative = list(accumulate(steered_weight(one, by_feature) for one in intents))
    if cumulative[-1] <= 0:
        raise InvalidInputError(f"These feature factors leave no {level} intent: raise one that is 0.")
    return WeightedIntents(level, intents, cumulative)


class DrawnExample(NamedTuple):
    template: str
    question: str
    sql: str


class ExampleStream:
    """Examples in the order that `key` seeds. Shapes of SQL repeat only when no new one is found, and golds after that.

    What lies before a shard's part has to be drawn too, once a process. It is not kept, so that memory does not grow
    with a job.
    """

    def __init__(self, database: DomainDatabase, split: Split, choices: WeightedIntents, key: str) -> None:
        self.database = database
        self.split = split
        self.choices = choices
        self.key = key
        self.lock = Lock()  # streams are cached, so threads may share one
        self._restart()

    def _restart(self) -> None:
        self.rng = Random(self.key)
        self.drawn = 0
        self.recent: deque[DrawnExample] = deque(maxlen=KEPT_EXAMPLES)
        self.seen: set[int] = set()

    def get(self, place: int) -> DrawnExample:
        """The example at a place, counted from 0. Raises InvalidInputError where the domain gives none at the level."""
        with self.lock:
            # The place is no longer kept. The same key gives the same order again.
            if place < self.drawn - len(self.recent):
                self._restart()
            while self.drawn <= place:
                self.recent.append(self._draw_new())
                self.drawn += 1
            return self.recent[place - self.drawn]

    def _draw_new(self) -> DrawnExample:
        """The next example. The longer the search, the less new it has to be."""
        intent = self.choices.intents[0]
        for tries in range(GOLD_TRIES * 10):
            if tries % TRIES_PER_INTENT == 0:
                intent = self.rng.choices(self.choices.intents, cum_weights=self.choices.cumulative)[0]
            found = self._fill(intent)
            if found is None:
                continue
            # Hashes, not texts: they stay in memory as long as the stream.
            shape, gold = hash(LITERAL.sub("?", found.sql)), hash(found.sql)
            if (shape in self.seen and tries < SHAPE_TRIES) or (gold in self.seen and tries < GOLD_TRIES):
                continue
            self.seen |= {shape, gold}
            return found
        name = self.database.domain.name
        raise InvalidInputError(f"Domain {name} gives no {self.choices.level} example: describe more columns for it.")

    def _fill(self, intent: Intent) -> DrawnExample | None:
        """One draw of an intent, or None where the gold does not pass its checks."""
        try:
            filled = intent.fill(Draw(self.database, self.rng))
            self.database.check(filled)
        except NoFit:
            return None
        template, question = fill_template(intent.name, filled.form, self.split, filled.slots, self.rng)
        return DrawnExample(template, question, filled.sql)


def fill_template(intent: str, form: str, split: Split, slots: dict[str, str], rng: Random) -> tuple[str, str]:
    """(template id, question). The id is "where/p3" for a template of the intent, "count_far/t1@count" for a borrowed
    one.
    """
    group = "test" if split == "test" else "train"
    templates = load_templates()[form or intent][group]
    place = rng.randrange(len(templates))
    mark = "t" if group == "test" else "p"
    borrowed = f"@{form}" if form and form != intent else ""
    return f"{intent}/{mark}{place + 1}{borrowed}", sentence(templates[place].format_map(slots))


@lru_cache(maxsize=1)
def load_templates() -> dict[str, dict[str, list[str]]]:
    """Question templates by intent, then by "train" (training and selection) or "test"."""
    templates: dict[str, Any] = {}
    for file in sorted(DATA.glob("phrases*.yaml")):
        templates |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return templates
