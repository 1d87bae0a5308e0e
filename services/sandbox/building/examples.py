"""The databases of written examples: built, stored, and filled with rows where an invented one lacks them."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.building.databases import build_database, build_stored_database, local_database, make_card
from services.sandbox.building.filling import SHARINGS, fill_inserts
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution, ExecutionRequest
from services.sandbox.judging.verification import gold_request
from shared.catalog.databases import CardCache, TableCard
from shared.contracts.records import DatabaseScript, Outcome, RejectedExample, WrittenExample
from shared.errors import InvalidInputError
from shared.storage.store import ObjectStore


def fill_script(script: DatabaseScript, gold: str, pool: SandboxPool) -> tuple[DatabaseScript, bool]:
    """Return a script on which the gold finds rows, and whether rows were added; otherwise the script as it is.

    Rows are added when a table is empty or the gold finds nothing. When the rows of the writer cannot be inserted,
    generated ones replace them. Raises InvalidInputError about the script of the writer when neither builds.
    """
    with tempfile.TemporaryDirectory(prefix="sense-fill-") as folder:
        trial = FillTrial(Path(folder), gold, pool)
        try:
            tables, ran = trial.run(script)
        except InvalidInputError:
            empty = DatabaseScript(ddl=script.ddl, inserts=[])
            found = trial.best(empty, trial.run(empty)[0]) if script.inserts else None
            if found is None:
                raise
            return found, True
        if not lacks_rows(tables, ran):
            return script, False
        found = trial.best(script, tables)
        return (script, False) if found is None else (found, True)


def lacks_rows(tables: list[TableCard], ran: Execution) -> bool:
    """False for a gold that fails for another reason: rows would not help it."""
    if ran.outcome is Outcome.EMPTY or ran.all_null:
        return True
    return ran.outcome is Outcome.OK and any(table.row_count == 0 for table in tables)


class FillTrial:
    """Builds scripts in its folder and runs the gold on them."""

    def __init__(self, folder: Path, gold: str, pool: SandboxPool) -> None:
        self.folder, self.gold, self.pool, self.number = folder, gold, pool, 0

    def run(self, script: DatabaseScript) -> tuple[list[TableCard], Execution]:
        self.number += 1
        path = self.folder / f"{self.number}.sqlite"
        tables = make_card(path, build_database(script, path, self.pool.builder), pool=self.pool).tables
        return tables, self.pool.run(ExecutionRequest(path, self.gold, Limits().gold_deadline_s, 5))

    def best(self, script: DatabaseScript, tables: list[TableCard]) -> DatabaseScript | None:
        # which parents should be shared depends on the gold, so try each way
        for sharing in SHARINGS:
            more = script.model_copy(update={"inserts": [*script.inserts, *fill_inserts(tables, self.gold, sharing)]})
            try:
                _, ran = self.run(more)
            except InvalidInputError:
                continue
            if ran.outcome is Outcome.OK and not ran.all_null:
                return more
        return None


@dataclass
class BuiltExamples:
    built: list[WrittenExample] = field(default_factory=list)
    rejected: list[RejectedExample] = field(default_factory=list)


class ExampleBuilder:
    def __init__(self, objects: ObjectStore, pool: SandboxPool) -> None:
        self.objects, self.pool = objects, pool
        self.catalog = CardCache(objects)

    def build(self, rows: Sequence[WrittenExample]) -> BuiltExamples:
        found = BuiltExamples()
        for written in rows:
            if written.database is None:
                found.built.append(written)
                continue
            try:
                found.built.append(self.built(written, written.database))
            except InvalidInputError as error:
                found.rejected.append(
                    RejectedExample(reason="schema_failed", detail=error.message, written=written, gate="build")
                )
        return found

    def built(self, written: WrittenExample, script: DatabaseScript) -> WrittenExample:
        # only databases that a model invented may be changed
        invented = written.provenance.writer == "llm"
        try:
            database_id = build_stored_database(self.objects, script, self.pool)
            if invented and self.lacks_rows(written, database_id):
                return self.filled(written, script)
        except InvalidInputError:
            if not invented:
                raise
            return self.filled(written, script)
        return written.model_copy(update={"database": None, "database_id": database_id})

    def lacks_rows(self, written: WrittenExample, database_id: str) -> bool:
        ran = self.pool.run(gold_request(local_database(self.objects, database_id), written.sql, 5))
        return lacks_rows(self.catalog.card(database_id).tables, ran)

    def filled(self, written: WrittenExample, script: DatabaseScript) -> WrittenExample:
        better, added = fill_script(script, written.sql, self.pool)
        database_id = build_stored_database(self.objects, better, self.pool)
        return written.model_copy(update={"database": None, "database_id": database_id, "rows_added": added})
