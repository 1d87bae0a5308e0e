"""Databases of written examples: sealed, and mended where an invented one lacks rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.sandbox.constant import gold_request
from services.sandbox.databases import local_database, seal_database
from services.sandbox.filling.fill import filled, wanting
from services.sandbox.pool import SandboxPool
from shared.catalog.databases import CardCache
from shared.contracts.records import DatabaseScript, Rejected, Written
from shared.errors import InvalidInputError
from shared.storage.store import ObjectStore


@dataclass
class Built:
    """Written examples with sealed databases, and those whose script does not build."""

    built: list[Written] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


class Builder:
    """Builds the databases of one shard."""

    def __init__(self, objects: ObjectStore, pool: SandboxPool) -> None:
        self.objects, self.pool = objects, pool
        self.catalog = CardCache(objects)

    def build(self, rows: Sequence[Written]) -> Built:
        """Every row is built or rejected, in order; rows on given databases pass."""
        found = Built()
        for written in rows:
            if written.database is None:
                found.built.append(written)
                continue
            try:
                found.built.append(self.sealed(written, written.database))
            except InvalidInputError as error:
                found.rejected.append(
                    Rejected(reason="schema_failed", detail=error.message, written=written, gate="build")
                )
        return found

    def sealed(self, written: Written, script: DatabaseScript) -> Written:
        """The row on its sealed database. Raises InvalidInputError."""
        invented = written.provenance.writer == "llm"
        try:
            database_id = seal_database(self.objects, script, self.pool)
            if invented and self.lacks_rows(written, database_id):
                return self.mended(written, script)
        except InvalidInputError:
            if not invented:
                raise
            return self.mended(written, script)
        return written.model_copy(update={"database": None, "database_id": database_id})

    def lacks_rows(self, written: Written, database_id: str) -> bool:
        """Whether a table is empty, or the gold finds nothing."""
        ran = self.pool.run(gold_request(local_database(self.objects, database_id), written.sql, 5))
        return wanting(self.catalog.card(database_id).tables, ran)

    def mended(self, written: Written, script: DatabaseScript) -> Written:
        """The row on a database with rows of ours, where those help. Raises InvalidInputError."""
        better, added = filled(script, written.sql, self.pool)
        database_id = seal_database(self.objects, better, self.pool)
        return written.model_copy(update={"database": None, "database_id": database_id, "rows_added": added})
