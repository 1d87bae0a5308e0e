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


def gold_sentence(examples: Sequence[Example]) -> str:
    """What was run: golds that were written here, and not those of imported sets, which their import tells of."""
    imported = sum(one.provenance.writer == "imported" for one in examples)
    if not imported:
        return "Every gold was run and returned rows."
    return (
        f"{imported} are imported ({', '.join(data_sets(examples))}): golds that did not run at the import are left "
        "out, golds that give no row are not. Every other gold was run and returned rows."
    )


def data_sets(examples: Sequence[Example]) -> list[str]:
    """NAME@VERSION of every data set in use."""
    return sorted({one.dataset for one in examples if one.dataset})


def imported_sentence(dataset: Dataset) -> str:
    """What an imported set shares with test and selection."""
    parts = []
    if dataset.held_back:
        parts.append(f", {dataset.held_back} on databases of the selection split")
    if dataset.beside_tests:
        parts.append(f"; {dataset.beside_tests} kept ones lie on a database of a test set, with other questions")
    return "".join(parts)


def write_card(dataset: Dataset, rejected: Sequence[Rejected], prompt_rows: int, note: str | None = None) -> str:
    """The card of one collected dataset."""
    examples = dataset.examples
    parts = [
        "# Dataset card",
        f"{len(examples)} training examples over {len({one.database_id for one in examples})} databases, "
        f"{len(dataset.selection)} in the selection split. {gold_sentence(examples)} "
        f"Prompts: {PROMPT_VERSION}, {prompt_rows} example rows a table.",
        f"Refused here: {dataset.duplicates} duplicates, {dataset.leaked} that stand in a test set"
        f"{imported_sentence(dataset)}.",
        sources(examples),
        count_table("level", Counter(one.level for one in examples)),
        count_table("domain", Counter(one.domain for one in examples)),
    ]
    if note:
        parts.insert(1, f"**{note}**")
    if rejected:
        parts.append(count_table("rejected before", Counter(one.reason for one in rejected)))
    return "\n\n".join(parts) + "\n"
