"""Writing what is wished for: SQL features by weight, for any writer.

A feature is drawn for each example. The LLM writer is told it. The grammar writer draws the intents of these features
more often, writes several times as many examples as are wanted, and those that use the features drawn are taken.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.synthesis.grammar.writer import write_examples as write_by_grammar
from services.synthesis.shares import share_levels
from shared.contracts.records import Level, Wish, Written
from shared.contracts.synthesis import WriteExamples
from shared.sampling import stable_seed
from shared.sql.features import FEATURES, sql_features
from shared.tasks.task import Shard

# Six times as many with intents made likelier meet more wishes than twelve times as many without (often twice as many,
# where only hard golds use a feature), in about the same time.
OVERDRAW = 6
LIKELIER = 40.0  # times, at most: the factor on the intents of a feature that all wishes are for
WORDS = {
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
class Wanted:
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
        return {name: 1 + LIKELIER * weight / total for name, weight in weights.items()}


def own_wish(command: WriteExamples) -> Wanted:
    """The command's own wishes."""
    return Wanted(command.levels, command.features)


def wanted(command: WriteExamples, shard: Shard) -> Wanted:
    """The command's own wishes, or those that a stage has left."""
    wishes = list(shard.stage_records(command.wishes, "wishes", Wish)) if command.wishes is not None else []
    levels = {
        level: wish.weight for wish in wishes for level in command.levels if (wish.kind, wish.name) == ("level", level)
    }
    features = {wish.name: wish.weight for wish in wishes if wish.kind == "feature"}
    return Wanted(levels or command.levels, features or command.features)


def write_steered(command: WriteExamples, wish: Wanted, features: Sequence[str | None]) -> tuple[list[Written], int]:
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
    return pick(pool, wish, features) if steered else (pool, 0)


def pick(pool: Sequence[Written], wish: Wanted, features: Sequence[str | None]) -> tuple[list[Written], int]:
    """One example of the pool for each feature, levels by their shares; and how many use the feature drawn for them.

    Level and feature first, then the feature at another level, then the level: what a grammar cannot write is made up
    for by what it can. In the pool's order, so that equal pools give equal picks.
    """
    used = [sql_features(one.sql).used for one in pool]
    left = list(range(len(pool)))
    picked: list[int] = []
    for level, feature in zip(share_levels(wish.levels, len(features)), features, strict=True):
        ranks = [(feature in used[at], pool[at].level == level) for at in left]
        best = left[max(range(len(left)), key=lambda place: (ranks[place], -place))]
        left.remove(best)
        picked.append(best)
    met = sum(feature in used[at] for at, feature in zip(picked, features, strict=True) if feature is not None)
    return [pool[at] for at in picked], met


def asking(feature: str | None) -> str:
    """What is added to the strong model's prompt; nothing where nothing is wished for."""
    return (
        ""
        if feature is None
        else f"\n\nIn this data point the SQL has to use {WORDS[feature]}, where it is needed to answer."
    )


def used_as_asked(written: Sequence[Written], features: Sequence[str | None]) -> int:
    """How many examples use the feature that was asked of them."""
    asked = [(one, feature) for one, feature in zip(written, features, strict=True) if feature is not None]
    return sum(feature in sql_features(one.sql).used for one, feature in asked)
