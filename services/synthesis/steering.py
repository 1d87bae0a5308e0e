"""Writing what is wished for: SQL features by weight, for any writer.

A feature is drawn for each example. The LLM writer is told it. The grammar writer draws the intents of these features
more often, writes several times as many examples as are wanted, and those that use the features drawn are taken.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from services.synthesis.writers.grammar.writer import write_examples as write_by_grammar
from shared.contracts.records import Level, Wish, WrittenExample
from shared.contracts.synthesis import WriteExamples
from shared.sampling import stable_seed
from shared.sql.features import FEATURES, sql_features
from shared.tasks.task import Shard

LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")
Name = TypeVar("Name", bound=str)


def distribute(shares: Mapping[Name, float], names: tuple[Name, ...], count: int) -> list[Name]:
    """`count` names in the wanted shares, by largest remainder; of equals the first."""
    total = sum(shares.values())
    given = dict.fromkeys(names, 0)
    result: list[Name] = []
    for place in range(1, count + 1):
        behind = {name: shares.get(name, 0.0) / total * place - given[name] for name in names if shares.get(name)}
        name = max(behind, key=lambda key: behind[key])
        given[name] += 1
        result.append(name)
    return result


def distribute_levels(levels: Mapping[Level, float], count: int, begin: int = 0) -> list[Level]:
    """`count` levels in the wanted shares, from the place `begin` of the endless row of them."""
    return distribute(levels, LEVELS, begin + count)[begin:]


@dataclass(frozen=True, slots=True)
class ExampleSlot:
    """One example of a shard: its level, and whether it is for a database of the user's, as the `number`th of these."""

    level: Level
    own: bool = False
    number: int = 0


def plan_slots(levels: Mapping[Level, float], user_database_share: float, shard: int, count: int) -> list[ExampleSlot]:
    """A shard's examples. Levels keep their shares among own and among cross-domain examples alike, over all shards."""
    begin = shard * count
    before = whole_part(begin * user_database_share)
    owns = [
        whole_part((place + 1) * user_database_share) > whole_part(place * user_database_share)
        for place in range(begin, begin + count)
    ]
    mine = iter(distribute_levels(levels, sum(owns), before))
    rest = iter(distribute_levels(levels, count - sum(owns), begin - before))
    numbers = iter(range(before, before + sum(owns)))
    return [ExampleSlot(next(mine), True, next(numbers)) if own else ExampleSlot(next(rest)) for own in owns]


def whole_part(amount: float) -> int:
    """The whole part, with room for what floating point loses."""
    return int(amount + 1e-9)


# Six times as many with intents made likelier meet more wishes than twelve times as many without (often twice as many,
# where only hard golds use a feature), in about the same time.
OVERDRAW = 6
MAX_FACTOR = 40.0  # times, at most: the factor on the intents of a feature that all wishes are for
FEATURE_WORDS = {
    "join": "a JOIN of two tables",
    "many_joins": "joins over three or more tables",
    "nested": "a subquery",
    "aggregate": "an aggregate function",
    "group": "GROUP BY",
    "having": "HAVING",
    "set_operation": "UNION, INTERSECT or EXCEPT",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "distinct": "DISTINCT",
    "like": "LIKE",
    "between": "BETWEEN",
    "in": "IN with a list or a subquery",
    "exists": "EXISTS or NOT EXISTS",
    "case": "CASE WHEN",
    "window": "a window function",
    "cte": "a common table expression (WITH)",
    "null": "IS NULL, COALESCE or another way to deal with missing values",
    "date": "a date function",
    "arithmetic": "arithmetic on columns",
}


@dataclass(frozen=True)
class WritingGoals:
    """What a shard is to write: shares of levels, and weights of features (none: whatever comes)."""

    levels: Mapping[Level, float]
    features: Mapping[str, float]

    def draw(self, command: WriteExamples) -> list[str | None]:
        """A feature for each example, by seed, shard and place alone."""
        names = [name for name in FEATURES if self.features.get(name)]
        if not names:
            return [None] * command.count
        rng = random.Random(stable_seed(command.seed, "features", command.split, command.shard))
        return list(rng.choices(names, [self.features[name] for name in names], k=command.count))

    def factors(self) -> dict[str, float]:
        """How much likelier the grammar draws an intent that uses a feature: by the feature's share of the wishes."""
        weights = {name: self.features[name] for name in FEATURES if self.features.get(name)}
        total = sum(weights.values())
        return {name: 1 + MAX_FACTOR * weight / total for name, weight in weights.items()}


def command_goals(command: WriteExamples) -> WritingGoals:
    """The command's own wishes."""
    return WritingGoals(command.levels, command.features)


def read_goals(command: WriteExamples, shard: Shard) -> WritingGoals:
    """The command's own wishes, or those that a stage has left."""
    wishes = list(shard.stage_records(command.wishes, "wishes", Wish)) if command.wishes is not None else []
    levels = {
        level: wish.weight for wish in wishes for level in command.levels if (wish.kind, wish.name) == ("level", level)
    }
    features = {wish.name: wish.weight for wish in wishes if wish.kind == "feature"}
    return WritingGoals(levels or command.levels, features or command.features)


def write_to_goals(
    command: WriteExamples, wish: WritingGoals, features: Sequence[str | None]
) -> tuple[list[WrittenExample], int]:
    """An example by the grammar for each of the features drawn, and how many use theirs."""
    steered = any(features)
    pool = write_by_grammar(
        seed=command.seed,
        split=command.split,
        shard=command.shard,
        count=len(features) * (OVERDRAW if steered else 1),
        levels=wish.levels,
        features=wish.factors(),
    )
    return pick_examples(pool, wish, features) if steered else (pool, 0)


def pick_examples(
    pool: Sequence[WrittenExample], wish: WritingGoals, features: Sequence[str | None]
) -> tuple[list[WrittenExample], int]:
    """One example of the pool for each feature, levels by their shares; and how many use the feature drawn for them.

    Level and feature first, then the feature at another level, then the level: what a grammar cannot write is made up
    for by what it can. In the pool's order, so that equal pools give equal picks.
    """
    used = [sql_features(one.sql).used for one in pool]
    left = list(range(len(pool)))
    picked: list[int] = []
    for level, feature in zip(distribute_levels(wish.levels, len(features)), features, strict=True):
        ranks = [(feature in used[at], pool[at].level == level) for at in left]
        best = left[max(range(len(left)), key=lambda place: (ranks[place], -place))]
        left.remove(best)
        picked.append(best)
    met = sum(feature in used[at] for at, feature in zip(picked, features, strict=True) if feature is not None)
    return [pool[at] for at in picked], met


def feature_instruction(feature: str | None) -> str:
    """What is added to the strong model's prompt; nothing where nothing is wished for."""
    return (
        ""
        if feature is None
        else f"\n\nIn this data point the SQL has to use {FEATURE_WORDS[feature]}, where it is needed to answer."
    )


def count_followed(written: Sequence[WrittenExample], features: Sequence[str | None]) -> int:
    """How many examples use the feature that was asked of them."""
    asked = [(one, feature) for one, feature in zip(written, features, strict=True) if feature is not None]
    return sum(feature in sql_features(one.sql).used for one, feature in asked)
