"""Questions as the examples of a data set."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.benchmarks.importing.formats import ImportedQuestion
from services.benchmarks.importing.source import LICENCES, ImportSource
from services.sandbox.execution.pool import SandboxPool
from shared.catalog.datasets import example_id
from shared.contracts.datasets import DatasetHeader, GoldHealth
from shared.contracts.records import Example, Level, Provenance
from shared.errors import InvalidInputError, NotFoundError
from shared.sql.spider.hardness import measured_hardness
from shared.sql.spider.schema import SpiderSchema

if TYPE_CHECKING:
    from shared.api.resources import Dataset
    from shared.client.client import SenseClient

Describe = Callable[[str], SpiderSchema]
LEVELS: dict[str, Level] = {
    **{"easy": "easy", "simple": "easy", "medium": "medium", "moderate": "medium"},
    **{"hard": "hard", "extra": "hard", "challenging": "hard", "beyond_spider": "hard"},
}


def level_of(hardness: str | None) -> Level:
    """One of our three levels."""
    return LEVELS.get(hardness or "", "medium")


class Measure:
    """Hardness by question; schemas come from tables.json, and from the file itself where that has no entry."""

    def __init__(self, source: ImportSource, pool: SandboxPool) -> None:
        self.source, self.pool = source, pool
        self.entries = read_tables(source.tables) if source.tables else {}
        self.schemas: dict[str, SpiderSchema] = {}

    def of(self, question: ImportedQuestion) -> str | None:
        """What the file says, else what is measured; None for BIRD questions without difficulty."""
        if question.hardness is not None or self.source.asked.format in ("bird", "bird-mini"):
            return question.hardness
        return measured_hardness(question.gold, self.schema(question.db))

    def schema(self, name: str) -> SpiderSchema:
        """The schema of one database."""
        if name not in self.schemas:
            entry = self.entries.get(name)
            self.schemas[name] = self.listed(name) if entry is None else SpiderSchema.from_tables_json(entry)
        return self.schemas[name]

    def listed(self, name: str) -> SpiderSchema:
        """The schema that the file holds."""
        tables = self.pool.describe(self.source.databases.files[name], 0)
        return SpiderSchema.from_listing({one["name"]: [column["name"] for column in one["columns"]] for one in tables})


def read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of tables.json by database. Raises InvalidInputError naming the file, and the line where it breaks."""
    try:
        entries: Sequence[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8-sig"))
        return {str(entry["db_id"]): entry for entry in entries}
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path.name}, line {error.lineno}: this is not JSON ({error.msg})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} cannot be read as Spider's tables.json: {error}") from error


IMPORTER = "1"


def examples_of(source: ImportSource, hardness: Sequence[str | None]) -> list[Example]:
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


def as_example(
    source: ImportSource, question: ImportedQuestion, database_id: str, name: str, hardness: str | None
) -> Example:
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


def head_of(source: ImportSource, name: str, health: GoldHealth, licence: str | None) -> DatasetHeader:
    """What is said of the data set beside its examples."""
    return DatasetHeader(
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


def upload(
    client: "SenseClient",
    head: DatasetHeader,
    examples: Sequence[Example],
    files: Mapping[str, Path],
    progress: Callable[[int], None],
) -> "Dataset":
    """The stored data set. Raises what the gateway refuses, naming the database."""
    ids = {one.domain: one.database_id for one in examples}
    for name, path in files.items():
        upload_database(client, name, path, ids[name])
        progress(1)
    return client.add_dataset(head, examples)


def upload_database(client: "SenseClient", name: str, path: Path, database_id: str) -> None:
    """Brings one database, unless its content is there. Raises InvalidInputError for a file that changed meanwhile."""
    try:
        client.database(database_id)
    except NotFoundError:
        found = client.upload_database(path, name[:100])
        if found.id != database_id:
            raise InvalidInputError(f"{path} changed while it was imported; run the command again") from None
