"""All intents, by what they are about: a module enters its own into the catalogue when it is imported."""

from importlib import import_module

# In the order of the catalogue, on which the choice by seed depends.
MODULES = (
    "rows",
    "order",
    "numbers",
    "groups",
    "parents",
    "paths",
    "nesting",
    "sets",
    "nulls",
    "dates",
    "cases",
    "windows",
)


def load_intents() -> None:
    """Fills the catalogue; a second call changes nothing."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
