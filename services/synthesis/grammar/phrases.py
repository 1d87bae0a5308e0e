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
    phrases: dict[str, Any] = yaml.safe_load((DATA / "phrases.yaml").read_text(encoding="utf-8"))
    return phrases


def phrase(intent: str, split: Split, slots: dict[str, str], rng: Random) -> tuple[str, str]:
    """(template id such as "where/p3" or "where/t1", question)."""
    group = "test" if split == "test" else "train"
    templates = load_phrases()[intent][group]
    place = rng.randrange(len(templates))
    mark = "t" if group == "test" else "p"
    return f"{intent}/{mark}{place + 1}", sentence(templates[place].format_map(slots))
