"""The intents of the grammar: what a question asks for, how hard it is, and which SQL features its golds use.

Levels follow Spider's hardness of the gold: `easy` is Spider's easy, `medium` its medium, and `hard` its hard and extra
and all that Spider's grammar cannot read (CASE, windows, EXISTS, outer joins, subqueries in FROM). A few intents of
easy and medium use one small construct that Spider cannot read either (IS NULL, a list of values, a year out of a
date); they are rare, so that at least 95 of 100 examples of a level measure as intended.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from math import prod

from services.synthesis.writers.grammar.database import FilledIntent
from services.synthesis.writers.grammar.draw import Draw
from shared.contracts.records import Level
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES

# Draws by seed depend on the order of the catalog, so on this one.
MODULES = ("select", "aggregate", "join", "subquery", "expression")


def load_intents() -> None:
    """Import the modules; each adds its intents to the catalog."""
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
    """Add a function to the catalog, under its name unless `name` is given.

    Raises InvalidInputError for a name that is taken or an unknown feature.
    """

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
    levels: tuple[Level, ...] = ("easy", "medium", "hard")
    return {level: {name: one for name, one in CATALOG.items() if one.level == level} for level in levels}


def steered_weight(one: Intent, features: Mapping[str, float]) -> float:
    """The intent's weight times the factors of its features (1 for features without one)."""
    return one.weight * prod(features.get(feature, 1.0) for feature in sorted(one.features))
