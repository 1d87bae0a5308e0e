"""Rows of a domain: realistic values, valid keys, the same for a (domain, seed) everywhere."""

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random

from services.synthesis.grammar.schema import Column, Domain, Table
from shared.contracts.records import DatabaseScript

Cell = str | int | float | None
Rows = dict[str, list[tuple[Cell, ...]]]

FIRST_NAMES = (
    "Anna Ben Carla David Elena Farid Grace Hugo Irene Jonas Kemal Laura Marco Nadia Oscar Priya Quentin Rosa Samuel "
    "Tina Umar Vera Walter Xiu Yusuf Zoe Amara Boris Chloe Diego Emil Fatima Gita Henrik Ida Jorge Kira Leon Mona Nils"
)
LAST_NAMES = (
    "Adler Bauer Costa Dahl Evans Ferri Gupta Haas Ito Jensen Khan Lund Moore Nair Olsen Park Quinn Rossi Silva Tanaka "
    "Ueda Vogel Wong Young Zhou Alvarez Brandt Castro Dubois Ellis Fischer Gomez Hansen Ibarra Keller Lambert Mendes"
)


def literal(value: Cell) -> str:
    """The value as SQL text."""
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def fill(domain: Domain, seed: int) -> Rows:
    """All rows of all tables, keys from 1 up, parents first."""
    rows: Rows = {}
    for table in domain.tables:
        rng = Random(f"rows/{seed}/{domain.name}/{table.name}")
        columns = [_values(column, table, rows, rng) for column in table.columns]
        rows[table.name] = [(index + 1, *cells) for index, cells in enumerate(zip(*columns, strict=True))]
    return rows


def script(domain: Domain, rows: Rows) -> DatabaseScript:
    """One CREATE TABLE and one INSERT a table."""
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
