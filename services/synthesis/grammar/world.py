"""One database in memory: its description, its rows, and a connection to try golds on."""

import sqlite3
from dataclasses import dataclass
from functools import cached_property

from services.synthesis.grammar.rows import Cell, Rows, fill, script
from services.synthesis.grammar.schema import Column, Domain, Table, voices
from shared.contracts.records import DatabaseScript

# How many results a world remembers: tables hold at most 30 rows, so they are small.
MEMORY = 300


class NoFit(Exception):  # noqa: N818 - not an error: the writer draws again
    """This intent cannot be filled from what was drawn."""


@dataclass(frozen=True)
class Filling:
    """A gold, the words for its question, and what must hold over the rows.

    `keys` selects the sort keys of an ordered gold, one row more than its LIMIT: all must differ. `contrasts` are
    simpler queries whose result must differ from the gold's, so that no part of the gold is idle. `ties` must return no
    row: it finds equal values where the gold takes one row a group. `form` names the phrases, if not the intent's own.
    """

    sql: str
    slots: dict[str, str]
    keys: str | None = None
    contrasts: tuple[str, ...] = ()
    ties: str | None = None
    form: str = ""


@dataclass(frozen=True)
class World:
    """A domain with the rows of one seed."""

    domain: Domain
    rows: Rows
    database: DatabaseScript
    voices: tuple[Domain, ...]

    @classmethod
    def build(cls, domain: Domain, seed: int) -> "World":
        """The same world for the same domain and seed."""
        rows = fill(domain, seed)
        return cls(domain, rows, script(domain, rows), voices(domain))

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """The database, built in memory; the world's user sees to it that one thread at a time is at work."""
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.executescript(";\n".join([*self.database.ddl, *self.database.inserts]))
        return connection

    @cached_property
    def known(self) -> dict[str, list[tuple[Cell, ...]]]:
        """Results of the simple queries that come back with many intents."""
        return {}

    def run(self, sql: str) -> list[tuple[Cell, ...]]:
        """All rows of a query, fractions rounded to six places."""
        if sql in self.known:
            return self.known[sql]
        found = self.connection.execute(sql).fetchall()
        rows = [tuple(round(cell, 6) if isinstance(cell, float) else cell for cell in row) for row in found]
        if len(self.known) < MEMORY:
            self.known[sql] = rows
        return rows

    def values(self, column: Column) -> list[Cell]:
        """A column's values that are not NULL, in row order."""
        table = self.domain.table(column.table)
        place = [one.name for one in table.columns].index(column.name) + 1
        return [row[place] for row in self.rows[table.name] if row[place] is not None]

    def childless(self, column: Column) -> bool:
        """Whether some row of the referenced table has no row pointing at it."""
        return len(set(self.values(column))) < len(self.rows[column.ref or ""])

    def demand(self, filling: Filling) -> None:
        """Raise NoFit unless the gold says something, without ties at its order, and every part of it counts."""
        result = self.run(filling.sql)
        if not result or all(cell is None for row in result for cell in row) or result == [(0,)]:
            raise NoFit
        if filling.keys is not None:
            keys = self.run(filling.keys)
            if len(set(keys)) < max(len(keys), 2) or any(None in key for key in keys):
                raise NoFit
        if filling.ties is not None and self.run(filling.ties):
            raise NoFit
        shape = sorted(map(repr, result))
        if any(sorted(map(repr, self.run(contrast))) == shape for contrast in filling.contrasts):
            raise NoFit


def title_of(table: Table) -> tuple[str, str]:
    """The column that names a row and its label: the title column, or else the key."""
    if table.title is not None:
        return table.title.name, table.title.label
    return table.key, f"{table.one} id" if table.key == "id" else table.key.replace("_", " ")
