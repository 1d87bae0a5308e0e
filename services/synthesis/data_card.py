"""The dataset card: what is in an export and where it came from, in Markdown."""

from collections import Counter
from collections.abc import Sequence

from services.synthesis.collect import Dataset
from shared.contracts.records import Example, Rejected
from shared.sql.prompt import PROMPT_VERSION


def count_table(title: str, counts: Counter[str]) -> str:
    """A two-column table, largest first, equal counts by name."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"| {title} | examples |", "|---|---:|", *[f"| {name} | {count} |" for name, count in rows]]
    return "\n".join(lines)


def sources(examples: Sequence[Example]) -> str:
    """Who wrote the examples, said plainly."""
    writers = Counter(
        f"{one.provenance.writer} ({one.provenance.model or one.provenance.writer_version})" for one in examples
    )
    return count_table("writer", writers)


def write_card(dataset: Dataset, rejected: Sequence[Rejected], prompt_rows: int) -> str:
    """The card of one collected dataset."""
    examples = dataset.examples
    parts = [
        "# Dataset card",
        f"{len(examples)} training examples over {len({one.database_id for one in examples})} databases, "
        f"{len(dataset.selection)} in the selection split. Every gold was run and returned rows. "
        f"Prompts: {PROMPT_VERSION}, {prompt_rows} example rows a table.",
        f"Refused here: {dataset.duplicates} duplicates, {dataset.leaked} that stand in a test set.",
        sources(examples),
        count_table("level", Counter(one.level for one in examples)),
        count_table("domain", Counter(one.domain for one in examples)),
    ]
    if rejected:
        parts.append(count_table("rejected before", Counter(one.reason for one in rejected)))
    return "\n\n".join(parts) + "\n"
