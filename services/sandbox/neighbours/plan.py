"""Everything that all neighbours of a database share: rows, profiles, links, dependencies. Made once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import apsw

from services.sandbox.neighbours.caps import Caps
from services.sandbox.neighbours.constants_home import Constant, settle
from services.sandbox.neighbours.dependencies import dependencies
from services.sandbox.neighbours.links import close, fill_order, held_links
from services.sandbox.neighbours.profile import Profile, profile
from services.sandbox.neighbours.sample import Sampler
from services.sandbox.neighbours.schema import Link, Schema, Table, read_schema
from services.sandbox.neighbours.values import Row

MANY = 100  # rows in which texts that never repeat are a name of the row, though no key says so


@dataclass
class TablePlan:
    """One table. `singles` are columns whose values never repeat, by declaration or as far as the data shows it;
    `links` are foreign keys to tables filled before, `later` those to be mended afterwards.
    """

    name: str
    table: Table
    rows: list[Row]
    profiles: list[Profile]
    singles: frozenset[int]
    determined: dict[int, tuple[int, ...]]
    links: list[Link]
    later: list[Link]
    repeats: bool

    order: list[int] = field(init=False)
    checks: dict[int, list[tuple[int, int]]] = field(init=False)

    def __post_init__(self) -> None:
        """`order`: how columns are drawn; determinants have at least as many values as what they fix. `checks`: the
        dependencies (determinant, column) that can be checked once a column is drawn.
        """
        self.order = sorted(range(len(self.profiles)), key=lambda n: (-len(self.profiles[n].values), n))
        self.checks = {}
        for column, determinants in self.determined.items():
            for pair in ((determinant, column) for determinant in determinants):
                self.checks.setdefault(max(pair, key=self.order.index), []).append(pair)


@dataclass
class Plan:
    """A database, ready to be varied; tables in the order in which they are filled."""

    schema: Schema
    tables: list[TablePlan]
    held: tuple[Link, ...]


def make_plan(sqlite: apsw.Connection, caps: Caps, constants: Sequence[Constant]) -> Plan:
    """Read and study the original. Raises UnfitError, apsw.Error, UnicodeDecodeError (a name that is not UTF-8)."""
    schema = read_schema(sqlite, caps)
    sampler = Sampler(sqlite, schema, caps)
    rows = sampler.read(fill_order(schema, schema.links))
    held = held_links(schema, sampler)
    order = fill_order(schema, held)
    close(schema, rows, held, order)
    tables = [plan_table(schema, name, rows[name], held, order) for name in order]
    settle([p for table in tables for p in table.profiles], constants)
    return Plan(schema, tables, held)


def plan_table(schema: Schema, name: str, rows: list[Row], held: Sequence[Link], order: list[str]) -> TablePlan:
    """Study one table."""
    table, own = schema.tables[name], [link for link in held if link.child == name]
    columns = [list(cells) for cells in zip(*rows, strict=True)] if rows else [[] for _ in table.columns]
    profiles = [profile(cells) for cells in columns]
    unique = {n for n, p in enumerate(profiles) if rows and p.nulls == 0 and len(p.values) == len(rows)}
    targets = {link.targets[0] for link in held if link.parent == name and len(link.targets) == 1}
    singles = {key[0] for key in table.keys if len(key) == 1} | (unique & targets)
    if len(rows) >= MANY:
        singles |= {n for n in unique if profiles[n].kinds == {str}}
    if not table.keys and len(rows) > 1:
        singles |= presumed_key(table, unique, own)
    filled = order[: order.index(name)]
    return TablePlan(
        name=name,
        table=table,
        rows=rows,
        profiles=profiles,
        singles=frozenset(singles),
        determined=dependencies(rows, frozenset(singles)),
        links=[link for link in own if link.parent in filled],
        later=[link for link in own if link.parent not in filled],
        repeats=len(set(rows)) < len(rows),
    )


def presumed_key(table: Table, unique: set[int], own: Sequence[Link]) -> set[int]:
    """In a table that declares no key: its first column, or the first called `…id`, whose values never repeat.

    A column that refers to another table is unique by accident.
    """
    referring = {column for link in own for column in link.columns}
    named = [n for n, c in enumerate(table.columns) if n == 0 or c.name.lower().endswith("id")]
    return set([n for n in named if n in unique and n not in referring][:1])
