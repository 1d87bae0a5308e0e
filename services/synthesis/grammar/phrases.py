"""Question templates: read once, filled with an intent's words."""

from functools import lru_cache
from random import Random
from typing import Any

import yaml

from services.synthesis.grammar.english import sentence
from services.synthesis.grammar.schema import DATA
from shared.contracts.records import Split


@lru_cache(maxsize=1)
def load_phrases() -> dict[str, dict[str, list[str]]]:
    """Templates by intent, then by "train" (training and selection) or "test"."""
    phrases: dict[str, Any] = {}
    for file in sorted(DATA.glob("phrases*.yaml")):
        phrases |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return phrases


def phrase(intent: str, form: str, split: Split, slots: dict[str, str], rng: Random) -> tuple[str, str]:
    """(template id, question): "where/p3" of the intent's own phrases, "count_far/t1@count" of another form's."""
    group = "test" if split == "test" else "train"
    templates = load_phrases()[form or intent][group]
    place = rng.randrange(len(templates))
    mark = "t" if group == "test" else "p"
    borrowed = f"@{form}" if form and form != intent else ""
    return f"{intent}/{mark}{place + 1}{borrowed}", sentence(templates[place].format_map(slots))
