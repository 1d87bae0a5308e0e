"""All intents, by what they are about: a module enters its own into the catalogue when it is imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from math import prod

from services.synthesis.writers.grammar.database import FilledIntent
from services.synthesis.writers.grammar.draw import Draw
from shared.contracts.records import Level
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES

# In the order of the catalogue, on which the choice by seed depends.
MODULES = (
    "select",
    "select",
    "aggregate",
    "aggregate",
    "join",
    "join",
    "subquery",
    "subquery",
    "expression",
    "expression",
    "expression",
    "expression",
)


def load_intents() -> None:
    """Fills the catalogue; a second call changes nothing."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")


FillIntent = Callable[[Draw], FilledIntent]
CATALOG: dict[str, "Intent"] = {}


@dataclass(frozen=True)
class Intent:
    """`features` are names of `shared.sql.features.FEATURES` in every gold; `weight` is the share within the level."""

    name: str
    level: Level
    features: frozenset[str]
    weight: float
    fill: FillIntent


def intent(level: Level, *features: str, weight: float = 1.0, name: str = "") -> Callable[[FillIntent], FillIntent]:
    """Enters a function into the catalogue, under its own name unless another one is given."""

    def enter(fill: FillIntent) -> FillIntent:
        entry = Intent(name or fill.__name__, level, frozenset(features), weight, fill)
        if entry.name in CATALOG or not entry.features <= set(FEATURES):
            raise InvalidInputError(
                f"Intent {entry.name} is there already or names a feature that is none of FEATURES."
            )
        CATALOG[entry.name] = entry
        return fill

    return enter


def intents_by_level() -> dict[Level, dict[str, Intent]]:
    """The catalogue by level."""
    levels: tuple[Level, ...] = ("easy", "medium", "hard")
    return {level: {name: one for name, one in CATALOG.items() if one.level == level} for level in levels}


def intents_using(feature: str) -> list[Intent]:
    """The intents whose golds always use a feature."""
    return [one for one in CATALOG.values() if feature in one.features]


def steered_weight(one: Intent, features: Mapping[str, float]) -> float:
    """The intent's weight times the factors of its features; features without a factor count once."""
    return one.weight * prod(features.get(feature, 1.0) for feature in sorted(one.features))
