"""Between the collected dataset and the object store: rows out by file, schemas in by card."""

import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

from services.synthesis.gates.gate import SchemaOf
from services.synthesis.gates.schemas import NO_SCHEMA, SchemaFacts, facts
from shared.catalog.databases import CardCache
from shared.contracts.refs import ObjectRef
from shared.errors import NotFoundError
from shared.storage.records import dump_records
from shared.tasks.task import Shard

FACTS_KEPT = 1024


def export_rows(shard: Shard, name: str, rows: Iterable[BaseModel]) -> ObjectRef:
    """Stores rows under the stage's `export/`, by way of a file: one row in memory at a time."""
    with tempfile.TemporaryDirectory(prefix="sense-export-") as folder:
        path = Path(folder) / name
        with path.open("wb") as file:
            for row in rows:
                file.write(dump_records([row]))
        return shard.export_file(name, path)


def schema_reader(catalog: CardCache) -> SchemaOf:
    """Facts of a database by its id; the last ones used are remembered."""

    @lru_cache(maxsize=FACTS_KEPT)
    def read(database_id: str) -> SchemaFacts:
        try:
            return facts(catalog.card(database_id))
        except NotFoundError:
            return NO_SCHEMA

    return read
