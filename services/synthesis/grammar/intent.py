"""Intents by name: what a question asks for, how hard it is meant to be, and which SQL features its golds always use.

Levels follow Spider's hardness of the gold: `easy` is Spider's easy, `medium` its medium, and `hard` its hard and extra
and all that Spider's grammar cannot read (CASE, windows, EXISTS, outer joins, subqueries in FROM). A few intents of
easy and medium use one small construct that Spider cannot read either (IS NULL, a list of values, a year out of a
date); they are kept rare, so that at least 95 of 100 examples of a level measure as asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from services.synthesis.grammar.draw import Draw
from services.synthesis.grammar.world import Filling
from shared.contracts.records import Level
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES

Fill = Callable[[Draw], Filling]
CATALOGUE: dict[str, "Intent"] = {}


@dataclass(frozen=True)
class Intent:
    """`features` are names of `shared.sql.features.FEATURES` in every gold; `weight` is the share within the level."""

    name: str
    level: Level
    features: frozenset[str]
    weight: float
    fill: Fill


def intent(level: Level, *features: str, weight: float = 1.0, name: str = "") -> Callable[[Fill], Fill]:
    """Enters a function into the catalogue, under its own name unless another one is given."""

    def enter(fill: Fill) -> Fill:
        entry = Intent(name or fill.__name__, level, frozenset(features), weight, fill)
        if entry.name in CATALOGUE or not entry.features <= set(FEATURES):
            raise InvalidInputError(
                f"Intent {entry.name} is there already or names a feature that is none of FEATURES."
            )
        CATALOGUE[entry.name] = entry
        return fill

    return enter


def by_level() -> dict[Level, dict[str, Intent]]:
    """The catalogue by level."""
    levels: tuple[Level, ...] = ("easy", "medium", "hard")
    return {level: {name: one for name, one in CATALOGUE.items() if one.level == level} for level in levels}


def intents_using(feature: str) -> list[Intent]:
    """The intents whose golds always use a feature."""
    return [one for one in CATALOGUE.values() if feature in one.features]


def steered(one: Intent, features: Mapping[str, float]) -> float:
    """The intent's weight times the factors of its features; features without a factor count once."""
    return one.weight * prod(features.get(feature, 1.0) for feature in sorted(one.features))
