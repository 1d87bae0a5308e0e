"""A domain as a database in memory: its rows, and a connection to check golds on."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from random import Random

from services.synthesis.writers.grammar.domain import Column, Domain, Table, wordings
from shared.contracts.records import DatabaseScript

Cell = str | int | float | None
Rows = dict[str, list[tuple[Cell, ...]]]
KEPT_RESULTS = 300  # results that a database remembers; tables hold at most 30 rows, so they are small


class NoFit(Exception):  # noqa: N818 - not an error: the writer draws again
    """The intent cannot be filled from what was drawn."""


@dataclass(frozen=True)
class FilledIntent:
    """A gold, the words for its question, and the conditions that its rows must meet.

    `keys` selects the sort keys of an ordered gold, one row more than its LIMIT: all must differ. `contrasts` are
    simpler queries whose result must differ from the gold's, so that no part of the gold is idle. `ties` must return no
    row: it finds equal values where the gold takes one row a group. `form` names the templates if they are not its own.
    """

    sql: str
    slots: dict[str, str]
    keys: str | None = None
    contrasts: tuple[str, ...] = ()
    ties: str | None = None
    form: str = ""


@dataclass(frozen=True)
class DomainDatabase:
    domain: Domain
    rows: Rows
    script: DatabaseScript
    wordings: tuple[Domain, ...]
    known: dict[str, list[tuple[Cell, ...]]] = field(default_factory=dict)  # results of queries that many intents run

    @classmethod
    def build(cls, domain: Domain, seed: int) -> "DomainDatabase":
        rows = generate_rows(domain, seed)
        return cls(domain, rows, database_script(domain, rows), wordings(domain))

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """The database in memory. One thread at a time may use it: callers hold a lock."""
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.executescript(";\n".join([*self.script.ddl, *self.script.inserts]))
        return connection

    def run(self, sql: str) -> list[tuple[Cell, ...]]:
        """All rows of a query, with fractions rounded to six places. Results are remembered."""
        if sql in self.known:
            return self.known[sql]
        found = self.connection.execute(sql).fetchall()
        rows = [tuple(round(cell, 6) if isinstance(cell, float) else cell for cell in row) for row in found]
        if len(self.known) < KEPT_RESULTS:
            self.known[sql] = rows
        return rows

    def values(self, column: Column) -> list[Cell]:
        """A column's values that are not NULL, in row order."""
        table = self.domain.table(column.table)
        # The key comes before the described columns.
        place = [one.name for one in table.columns].index(column.name) + 1
        return [row[place] for row in self.rows[table.name] if row[place] is not None]

    def childless(self, column: Column) -> bool:
        """Whether some row of the referenced table has no row pointing at it."""
        return len(set(self.values(column))) < len(self.rows[column.ref or ""])

    def check(self, filled: FilledIntent) -> None:
        """Raises NoFit for a gold that says nothing, has ties at its order, or has an idle part."""
        result = self.run(filled.sql)
        # No rows, NULLs alone, or a count of 0.
        if not result or all(cell is None for row in result for cell in row) or result == [(0,)]:
            raise NoFit
        if filled.keys is not None:
            keys = self.run(filled.keys)
            # An order over one row is idle.
            if len(set(keys)) < max(len(keys), 2) or any(None in key for key in keys):
                raise NoFit
        if filled.ties is not None and self.run(filled.ties):
            raise NoFit
        # Compared as bags: a contrast may give its rows in another order.
        shape = sorted(map(repr, result))
        if any(sorted(map(repr, self.run(contrast))) == shape for contrast in filled.contrasts):
            raise NoFit


def title_of(table: Table) -> tuple[str, str]:
    """The column that names a row and its label: the title column, or else the key."""
    if table.title is not None:
        return table.title.name, table.title.label
    return table.key, f"{table.one} id" if table.key == "id" else table.key.replace("_", " ")


# ---- rows: realistic values and valid keys, the same for a domain and a seed everywhere ----

FIRST_NAMES = (
    "Anna Ben Carla David Elena Farid Grace Hugo Irene Jonas Kemal Laura Marco Nadia Oscar Priya Quentin Rosa Samuel "
    "Tina Umar Vera Walter Xiu Yusuf Zoe Amara Boris Chloe Diego Emil Fatima Gita Henrik Ida Jorge Kira Leon Mona Nils"
)
LAST_NAMES = (
    "Adler Bauer Costa Dahl Evans Ferri Gupta Haas Ito Jensen Khan Lund Moore Nair Olsen Park Quinn Rossi Silva Tanaka "
    "Ueda Vogel Wong Young Zhou Alvarez Brandt Castro Dubois Ellis Fischer Gomez Hansen Ibarra Keller Lambert Mendes"
)


def literal(value: Cell) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def generate_rows(domain: Domain, seed: int) -> Rows:
    """All rows of all tables, keys from 1 up, parents first."""
    rows: Rows = {}
    for table in domain.tables:
        # A generator for each table: the values of one do not depend on the draws of another.
        rng = Random(f"rows/{seed}/{domain.name}/{table.name}")
        columns = [_values(column, table, rows, rng) for column in table.columns]
        rows[table.name] = [(index + 1, *cells) for index, cells in enumerate(zip(*columns, strict=True))]
    return rows


def database_script(domain: Domain, rows: Rows) -> DatabaseScript:
    inserts = []
    for table in domain.tables:
        values = ", ".join(f"({', '.join(literal(cell) for cell in row)})" for row in rows[table.name])
        inserts.append(f"INSERT INTO {table.name} VALUES {values}")
    return DatabaseScript(ddl=[domain.ddl(table) for table in domain.tables], inserts=inserts)


def _values(column: Column, table: Table, rows: Rows, rng: Random) -> list[Cell]:
    values: list[Cell]
    if column.ref:
        values = _references(len(rows[column.ref]), table.rows, rng)
    elif column.people:
        values = _people(table.rows, rng)
    elif column.words:
        values = list(rng.sample(_words(column.words), table.rows))
    elif column.pick:
        values = _picks(_words(column.pick), table.rows, rng)
    else:
        values = _spread(_grid(column), table.rows, rng)
    if column.missing:
        for index in rng.sample(range(table.rows), max(2, round(column.missing * table.rows))):
            values[index] = None
    return values


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split("|") if word.strip()]


def _people(count: int, rng: Random) -> list[Cell]:
    firsts, lasts = rng.sample(FIRST_NAMES.split(), count), rng.sample(LAST_NAMES.split(), count)
    return [f"{first} {last}" for first, last in zip(firsts, lasts, strict=True)]


def _references(parents: int, count: int, rng: Random) -> list[Cell]:
    """Keys of parents with uneven shares; of five and more parents one or two stay without children."""
    keys = rng.sample(range(1, parents + 1), parents)
    kept = keys[: parents - (1 if parents < 7 else 2)] if parents >= 5 else keys
    weights = [1 + 3 / (place + 1) for place in range(len(kept))]
    return _shuffled([*kept, *rng.choices(kept, weights, k=count)][:count], rng)


def _picks(choices: list[str], count: int, rng: Random) -> list[Cell]:
    weights = [1 + 1.5 / (place + 1) for place in range(len(choices))]
    # Every choice occurs if there are enough rows.
    return _shuffled([*choices, *rng.choices(choices, weights, k=count)][:count], rng)


def _shuffled(values: Sequence[Cell], rng: Random) -> list[Cell]:
    return rng.sample(values, len(values))


def _grid(column: Column) -> list[Cell]:
    if column.date:
        first, last = (int(part) for part in column.date.split(".."))
        start = date(first, 1, 1)
        return [(start + timedelta(days=day)).isoformat() for day in range((date(last, 12, 31) - start).days)]
    low, high = (float(part) for part in (column.whole or column.real or column.year or "").split(".."))
    steps = round((high - low) / column.step)
    values = [low + index * column.step for index in range(steps + 1)]
    return [round(value, 2) if column.real else int(value) for value in values]


def _spread(grid: list[Cell], count: int, rng: Random) -> list[Cell]:
    """Distinct values where the range is wide, so that the largest is one row, repeated ones where it is narrow."""
    return rng.sample(grid, count) if len(grid) >= 2 * count else rng.choices(grid, k=count)
