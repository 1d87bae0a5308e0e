"""Databases of invented examples: the writer's rows where they do, else ours beside them or in their place."""

import tempfile
from pathlib import Path

from services.sandbox.build import build_database
from services.sandbox.card import make_card
from services.sandbox.execution import Execution, Request
from services.sandbox.filling.rows import SHARINGS, inserts
from services.sandbox.limits import Limits
from services.sandbox.pool import SandboxPool
from shared.catalog.databases import TableCard
from shared.contracts.records import DatabaseScript, Outcome
from shared.errors import InvalidInputError

MISSING_ROWS = frozenset({Outcome.EMPTY})


def filled(script: DatabaseScript, gold: str, pool: SandboxPool) -> tuple[DatabaseScript, bool]:
    """The script with which the gold finds rows, and whether rows of ours are in it; else the script as it is.

    Rows are added where a table has none or the gold finds none. Where the writer's rows cannot be inserted, ours stand
    in their place. Raises InvalidInputError, about the writer's script, where that does not build and ours neither.
    """
    with tempfile.TemporaryDirectory(prefix="sense-fill-") as folder:
        trial = Trial(Path(folder), gold, pool)
        try:
            tables, ran = trial.run(script)
        except InvalidInputError:
            bare = DatabaseScript(ddl=script.ddl, inserts=[])
            found = trial.best(bare, trial.tables(bare)) if script.inserts else None
            if found is None:
                raise
            return found, True
        if not wanting(tables, ran):
            return script, False
        found = trial.best(script, tables)
        return (script, False) if found is None else (found, True)


def wanting(tables: list[TableCard], ran: Execution) -> bool:
    """Whether rows are missing; a gold that fails for another reason is not helped by rows."""
    if ran.outcome in MISSING_ROWS or all_null(ran):
        return True
    return ran.outcome is Outcome.OK and any(table.row_count == 0 for table in tables)


def all_null(ran: Execution) -> bool:
    """Whether the result holds nothing but NULL."""
    return ran.outcome is Outcome.OK and not ran.truncated and all(cell is None for row in ran.rows for cell in row)


class Trial:
    """Builds a script in a folder of its own and runs the gold on it."""

    def __init__(self, folder: Path, gold: str, pool: SandboxPool) -> None:
        self.folder, self.gold, self.pool, self.number = folder, gold, pool, 0

    def run(self, script: DatabaseScript) -> tuple[list[TableCard], Execution]:
        """Its tables and the gold's run. Raises InvalidInputError for a script that does not build."""
        self.number += 1
        path = self.folder / f"{self.number}.sqlite"
        tables = make_card(path, build_database(script, path, self.pool.desk), pool=self.pool).tables
        return tables, self.pool.run(Request(path, self.gold, Limits().gold_deadline_s, 5))

    def tables(self, script: DatabaseScript) -> list[TableCard]:
        """Its tables alone."""
        return self.run(script)[0]

    def best(self, script: DatabaseScript, tables: list[TableCard]) -> DatabaseScript | None:
        """The script with rows of ours on which the gold finds rows, or None."""
        for sharing in SHARINGS:
            more = script.model_copy(update={"inserts": [*script.inserts, *inserts(tables, self.gold, sharing)]})
            try:
                _, ran = self.run(more)
            except InvalidInputError:
                continue
            if ran.outcome is Outcome.OK and not all_null(ran):
                return more
        return None
