"""The goals of a shard of examples: difficulty levels, user databases, and SQL features.

Levels and user databases are planned as one sequence over all shards, so that any number of shards keeps the shares.
A feature is drawn for each example: the LLM writer puts it into the prompt, and the grammar writer picks examples that
use it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.contracts.records import Level, Wish, WrittenExample
from shared.contracts.synthesis import WriteExamples
from shared.sampling import stable_seed
from shared.sql.features import FEATURES, sql_features
from shared.tasks.task import Shard

LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")


@dataclass(frozen=True)
class WritingGoals:
    """Shares of levels, and weights of SQL features (empty: any feature)."""

    levels: Mapping[Level, float]
    features: Mapping[str, float]

    def draw_features(self, command: WriteExamples) -> list[str | None]:
        """A feature for each example, by seed, shard and place alone."""
        names = [name for name in FEATURES if self.features.get(name)]
        if not names:
            return [None] * command.count
        rng = random.Random(stable_seed(command.seed, "features", command.split, command.shard))
        return list(rng.choices(names, [self.features[name] for name in names], k=command.count))


def read_goals(command: WriteExamples, shard: Shard) -> WritingGoals:
    """The goals that an earlier stage left as wishes; else the command's."""
    wishes = list(shard.stage_records(command.wishes, "wishes", Wish)) if command.wishes is not None else []
    levels = {
        level: wish.weight for wish in wishes for level in command.levels if (wish.kind, wish.name) == ("level", level)
    }
    features = {wish.name: wish.weight for wish in wishes if wish.kind == "feature"}
    return WritingGoals(levels or command.levels, features or command.features)


def count_followed(written: Sequence[WrittenExample], features: Sequence[str | None]) -> int:
    return sum(feature in sql_features(one.sql).used for one, feature in zip(written, features, strict=True) if feature)


@dataclass(frozen=True, slots=True)
class ExampleSlot:
    """One example of a shard. `number` counts the examples for user databases over all shards."""

    level: Level
    for_user_database: bool = False
    number: int = 0


def plan_slots(levels: Mapping[Level, float], user_database_share: float, shard: int, count: int) -> list[ExampleSlot]:
    """The slots of a shard. Over all shards, both the examples for user databases and the others keep the shares of
    levels.
    """

    def taken_before(place: int) -> int:
        return int(place * user_database_share + 1e-9)  # room for what floating point loses

    begin = shard * count
    before = taken_before(begin)
    chosen = [taken_before(place + 1) > taken_before(place) for place in range(begin, begin + count)]
    user_levels = iter(distribute_levels(levels, sum(chosen), before))
    other_levels = iter(distribute_levels(levels, count - sum(chosen), begin - before))
    numbers = iter(range(before, before + sum(chosen)))
    return [
        ExampleSlot(next(user_levels), True, next(numbers)) if one else ExampleSlot(next(other_levels))
        for one in chosen
    ]


def distribute_levels(levels: Mapping[Level, float], count: int, begin: int = 0) -> list[Level]:
    """`count` levels from the place `begin` of a sequence that keeps the shares all along, by largest remainder."""
    total = sum(levels.values())
    given = dict.fromkeys(LEVELS, 0)
    result: list[Level] = []
    for place in range(1, begin + count + 1):
        behind = {name: levels.get(name, 0.0) / total * place - given[name] for name in LEVELS if levels.get(name)}
        # The level furthest behind its share comes next; ties go to the easier one.
        level = max(behind, key=lambda key: behind[key])
        given[level] += 1
        result.append(level)
    return result[begin:]
