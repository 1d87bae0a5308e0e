"""The dataset card in Markdown: what is in an export and where it came from."""

from collections.abc import Mapping

from services.synthesis.card_facts import CardFacts
from services.synthesis.card_words import head, notes
from shared.contracts.records import Example
from shared.pages.charts import largest_counts

LEVELS = ("easy", "medium", "hard")
HARDNESS = ("easy", "medium", "hard", "extra", "beyond_spider")
DOMAINS = 30
BAR = 24
CELL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;"})


def count_table(title: str, counts: Mapping[str, int]) -> str:
    """A table with bars, in the given order."""
    most = max(counts.values(), default=0)
    lines = [f"| {title} | count | |", "|---|---:|---|"]
    for name, count in counts.items():
        bar = "█" * max(1, round(BAR * count / most)) if count else ""
        lines.append(f"| {name.translate(CELL)} | {count:,} | {bar} |")
    return "\n".join(lines)


def rejection_table(facts: CardFacts) -> str:
    """Every gate and reason, the largest first."""
    ranked = sorted(facts.rejected.items(), key=lambda item: (-item[1], item[0]))
    rows = [f"| {gate} | {reason} | {count:,} |" for (gate, reason), count in ranked]
    return "\n".join(["| gate | reason | rejected |", "|---|---|---:|", *rows])


def charts(facts: CardFacts) -> dict[str, dict[str, int]]:
    """Every count that is shown, by its title; the HTML card draws the same."""
    found = {
        "writer": largest_counts(facts.writers, DOMAINS),
        "level asked for": facts.ordered(facts.levels, LEVELS),
        "hardness measured": facts.ordered(facts.hardness, HARDNESS),
        "domain": largest_counts(facts.domains, DOMAINS),
        "SQL feature": facts.used_features(),
    }
    return {title: counts for title, counts in found.items() if counts}


def sample(example: Example) -> str:
    """One example as a person reads it."""
    lines = [f"**{example.level}, {example.domain}.** {' '.join(example.question.split())}"]
    if example.evidence:
        lines.append(f"External knowledge: {example.evidence}")
    if example.reasoning:
        lines.append(f"Reasoning: {example.reasoning}")
    return "\n\n".join([*lines, f"```sql\n{example.gold}\n```"])


def write_card(facts: CardFacts, licences: Mapping[str, str]) -> str:
    """The card of one collected dataset. Equal facts give equal text."""
    parts = ["# Dataset card", head(facts), "\n".join(f"- {note}" for note in notes(facts, licences))]
    if facts.rejected:
        parts += ["## Rejected", rejection_table(facts)]
    parts.append("## What is in it")
    parts += [count_table(title, counts) for title, counts in charts(facts).items()]
    samples = [sample(one) for level in LEVELS for one in facts.samples.get(level, [])]
    return "\n\n".join([*parts, *(["## Samples", *samples] if samples else [])]) + "\n"
