"""A dataset of what was read: its examples with their hardness, its head, and its way into the stack."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.benchmarks.exact_match import read_schema
from services.benchmarks.importing.formats import ImportedQuestion
from services.benchmarks.importing.gold_health import check_golds
from services.benchmarks.importing.source import LICENCES, ImportRequest, ImportSource, read_source
from services.benchmarks.run import Step
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

IMPORTER_VERSION = "1"
# Spider's and BIRD's levels as our three.
LEVELS: dict[str, Level] = {
    **{"easy": "easy", "simple": "easy", "medium": "medium", "moderate": "medium"},
    **{"hard": "hard", "extra": "hard", "challenging": "hard", "beyond_spider": "hard"},
}


def read_dataset(
    request: ImportRequest, name: str, licence: str | None, children: int, step: Step
) -> tuple[DatasetHeader, list[Example], dict[str, Path]]:
    """Reads the files and runs every gold. Returns head, examples, and the file of each database in use."""
    source = read_source(request)
    # check_golds reports damaged files itself and needs a tolerant pool for it.
    with SandboxPool(children, tolerant=True) as pool:
        health = check_golds(source, pool, step("golds", len(source.questions)))
        meter, progress = HardnessMeter(source, pool), step("hardness", len(source.questions))
        hardness = []
        for question in source.questions:
            hardness.append(meter.hardness_of(question))
            progress(1)
    used = sorted({question.db for question in source.questions})
    files = {db: source.databases.files[db] for db in used}
    return head_of(source, name, health, licence), examples_of(source, hardness), files


class HardnessMeter:
    """Spider's hardness of a gold. A schema comes from tables.json, or from the database where that has no entry."""

    def __init__(self, source: ImportSource, pool: SandboxPool) -> None:
        self.source, self.pool = source, pool
        self._entries = read_tables(source.tables) if source.tables else {}
        self._schemas: dict[str, SpiderSchema] = {}

    def hardness_of(self, question: ImportedQuestion) -> str | None:
        """The published hardness, else the measured one; None for a BIRD question without difficulty."""
        if question.hardness is not None or self.source.request.format in ("bird", "bird-mini"):
            return question.hardness
        if question.db not in self._schemas:
            self._schemas[question.db] = self._schema(question.db)
        return measured_hardness(question.gold, self._schemas[question.db])

    def _schema(self, db: str) -> SpiderSchema:
        if db in self._entries:
            return SpiderSchema.from_tables_json(self._entries[db])
        return read_schema(self.pool, self.source.databases.files[db])


def read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of tables.json by database. Raises InvalidInputError with the file, and the line where it breaks."""
    try:
        entries: Sequence[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8-sig"))
        return {str(entry["db_id"]): entry for entry in entries}
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path.name}, line {error.lineno}: this is not JSON ({error.msg})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} cannot be read as Spider's tables.json: {error}") from error


def examples_of(source: ImportSource, hardness: Sequence[str | None]) -> list[Example]:
    """One example for each question, in order. Equal questions get different ids."""
    copies: Counter[str] = Counter()
    found = []
    for question, level in zip(source.questions, hardness, strict=True):
        database_id = source.databases.id_of(question.db)
        # Equal questions share this id; the count of earlier copies tells them apart.
        plain = example_id(database_id, question.text, question.evidence, question.gold)
        name = example_id(database_id, question.text, question.evidence, question.gold, copy=copies[plain])
        copies[plain] += 1
        found.append(example_of(source, question, database_id, name, level))
    return found


def example_of(
    source: ImportSource, question: ImportedQuestion, database_id: str, name: str, hardness: str | None
) -> Example:
    own_id = f", id {question.own_id}" if question.own_id else ""
    return Example.model_validate(
        {
            "example_id": name,
            "database_id": database_id,
            "domain": question.db,
            "split": question.split,
            "level": LEVELS.get(hardness or "", "medium"),
            "question": question.text,
            "evidence": question.evidence,
            "gold": question.gold,
            "hardness": hardness,
            "index": question.index,
            "provenance": Provenance(
                writer="imported",
                writer_version=f"{source.request.format}/{IMPORTER_VERSION}",
                seed=0,
                source=f"{question.place}{own_id}",
            ),
        }
    )


def head_of(source: ImportSource, name: str, health: GoldHealth, licence: str | None) -> DatasetHeader:
    return DatasetHeader(
        name=name,
        format=source.request.format,
        policy=source.policy,
        licence=licence or LICENCES[source.request.format],
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
    """Uploads each database once, then the examples. Raises what the gateway refuses, with the database's name."""
    ids = {one.domain: one.database_id for one in examples}
    for name, path in files.items():
        upload_database(client, name, path, ids[name])
        progress(1)
    return client.add_dataset(head, examples)


def upload_database(client: "SenseClient", name: str, path: Path, database_id: str) -> None:
    """Skips a database that the stack has. Raises InvalidInputError for a file that changed during the import."""
    try:
        client.database(database_id)
    except NotFoundError:
        found = client.upload_database(path, name[:100])
        # The id is the hash of the content.
        if found.id != database_id:
            raise InvalidInputError(f"{path} changed while it was imported; run the command again") from None
