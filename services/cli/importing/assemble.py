"""Questions as the examples of a data set."""

from collections import Counter
from collections.abc import Sequence

from services.cli.importing.hardness import level_of
from services.cli.importing.questions import Question
from services.cli.importing.releases import LICENCES
from services.cli.importing.source import Source
from shared.catalog.datasets import example_id
from shared.contracts.datasets import DatasetHead, GoldHealth
from shared.contracts.records import Example, Provenance

IMPORTER = "1"


def examples_of(source: Source, hardness: Sequence[str | None]) -> list[Example]:
    """One example a question, in order; ids of equal questions differ."""
    copies: Counter[str] = Counter()
    found = []
    for question, level in zip(source.questions, hardness, strict=True):
        database_id = source.databases.id_of(question.db)
        plain = example_id(database_id, question.text, question.evidence, question.gold)
        name = example_id(database_id, question.text, question.evidence, question.gold, copy=copies[plain])
        copies[plain] += 1
        found.append(as_example(source, question, database_id, name, level))
    return found


def as_example(source: Source, question: Question, database_id: str, name: str, hardness: str | None) -> Example:
    """One question."""
    own = f", id {question.own_id}" if question.own_id else ""
    return Example.model_validate(
        {
            "example_id": name,
            "database_id": database_id,
            "domain": question.db,
            "split": question.split,
            "level": level_of(hardness),
            "question": question.text,
            "evidence": question.evidence,
            "gold": question.gold,
            "hardness": hardness,
            "index": question.index,
            "provenance": Provenance(
                writer="imported",
                writer_version=f"{source.asked.format}/{IMPORTER}",
                seed=0,
                source=f"{question.place}{own}",
            ),
        }
    )


def head_of(source: Source, name: str, health: GoldHealth, licence: str | None) -> DatasetHead:
    """What is said of the data set beside its examples."""
    return DatasetHead(
        name=name,
        format=source.asked.format,
        policy=source.policy,
        licence=licence or LICENCES[source.asked.format],
        release=source.release,
        sources=source.hashes,
        skipped=source.skipped,
        notes=source.notes,
        health=health,
    )
