"""What all variants of a database share: sampled rows, foreign keys, profiles, dependencies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import apsw

from services.sandbox.execution.connection import fetch_all, quote_identifier
from services.sandbox.test_suites.constants import Constant, assign_constants
from services.sandbox.test_suites.profile import ColumnProfile, find_dependencies, profile_column
from services.sandbox.test_suites.schema import (
    ForeignKey,
    RawText,
    Row,
    Schema,
    SuiteLimits,
    Table,
    Value,
    decode_row,
    fold_value,
    largest_cell,
    read_schema,
    row_bytes,
    seeded_random,
    typed_columns,
)

RUN = 20  # rows read in sequence: what was written together often belongs together
LARGE_CELL = 100_000  # bytes

KeyValues = tuple[Value, ...]


def fold_key(row: Row, places: tuple[int, ...], parent: Table, targets: tuple[int, ...]) -> KeyValues | None:
    """A key in the form in which the parent's columns compare it; None if a part is NULL, which refers to nothing."""
    pairs = zip(places, targets, strict=True)
    key = tuple(fold_value(row[p], parent.columns[t].affinity, parent.columns[t].collation) for p, t in pairs)
    return None if None in key else key


class RowSampler:
    """Reads all rows of a small table, and of a large one a part with the rows its children need.

    `missing` has, for each foreign key, the values that the whole original lacks.
    """

    def __init__(self, sqlite: apsw.Connection, schema: Schema, caps: SuiteLimits) -> None:
        self.sqlite, self.schema = sqlite, schema
        self.rows: dict[str, list[Row]] = {}
        self.missing: dict[ForeignKey, set[KeyValues]] = {}
        self.partial: set[str] = set()
        self.most = caps.share(len(schema.tables))
        self.bytes = caps.bytes // len(schema.tables)

    def read(self, order: list[str]) -> dict[str, list[Row]]:
        # children first: their rows decide which parents are needed
        for name in reversed(order):
            self.rows[name] = self.table(name)
        for link in self.schema.links:
            if link not in self.missing:
                self.search(link)
        return self.rows

    def search(self, link: ForeignKey) -> None:
        parent = self.schema.tables[link.parent]
        if link.parent in self.partial:
            self.needed(parent, link, self.most)
        else:
            known = {fold_key(row, link.targets, parent, link.targets) for row in self.rows[link.parent]}
            self.missing[link] = self.wanted(link) - known

    def wanted(self, link: ForeignKey) -> set[KeyValues]:
        parent = self.schema.tables[link.parent]
        keys = (fold_key(row, link.columns, parent, link.targets) for row in self.rows[link.child])
        return {key for key in keys if key is not None}

    def table(self, name: str) -> list[Row]:
        table = self.schema.tables[name]
        whole = fetch_all(
            self.sqlite, f"SELECT count(*) FROM (SELECT 1 FROM {quote_identifier(table.name)} LIMIT {self.most + 1})"
        )
        # the count stops one row beyond the bound, so large tables are not counted in full
        if whole[0][0] <= self.most:
            return list(self.select(table, "1", f"LIMIT {self.most}").values())
        self.partial.add(name)
        found: dict[Any, Row] = {}
        for link in self.schema.links:
            if link.parent == name and link.child in self.rows:
                # rows that children refer to come first
                found |= self.needed(table, link, self.most - len(found))
        if table.rowid is None:
            return list((found | self.select(table, "1", f"LIMIT {self.most - len(found)}")).values())
        for start in self.starts(table):
            if len(found) >= self.most:
                break
            tail = f"ORDER BY {table.rowid} LIMIT {min(RUN, self.most - len(found))}"
            found |= self.select(table, f"{table.rowid} >= {start}", tail)
        return [found[key] for key in sorted(found)]

    def starts(self, table: Table) -> list[int]:
        ends = fetch_all(
            self.sqlite, f"SELECT min({table.rowid}), max({table.rowid}) FROM {quote_identifier(table.name)}"
        )[0]
        low, high = int(ends[0]), int(ends[1])
        chance, runs = seeded_random("sample", table.name), 2 * self.most // RUN
        even = [low + (high - low) * n // runs for n in range(0, runs, 2)]
        return even + [chance.randint(low, high) for _ in range(runs)]

    def needed(self, table: Table, link: ForeignKey, most: int) -> dict[Any, Row]:
        """Rows that the child refers to, at most `most`; also records which of the keys are missing."""
        keys = sorted(self.wanted(link), key=repr)
        sought = [key for key in keys if not any(isinstance(part, RawText) for part in key)][: max(0, most)]
        if not sought:
            self.missing[link] = set()
            return {}
        names = ", ".join(quote_identifier(table.columns[place].name) for place in link.targets)
        marks = ", ".join(["(" + ", ".join("?" * len(link.targets)) + ")"] * len(sought))
        values = [part for key in sought for part in key]
        found = self.select(table, f"({names}) IN (VALUES {marks})", f"LIMIT {most}", values)
        known = {fold_key(row, link.targets, table, link.targets) for row in found.values()}
        # at the bound a key may be absent only because reading stopped
        self.missing[link] = {key for key in sought if key not in known} if len(found) < most else set()
        return found

    def select(self, table: Table, where: str, tail: str, values: Sequence[Value] = ()) -> dict[Any, Row]:
        """Rows by row id (by themselves if the table has none), at most `bytes` of them in total."""
        try:
            return self.bounded(self.plain(table, where, tail, values))
        # only tables that need it are read cell by cell
        except (UnicodeDecodeError, apsw.TooBigError):
            return self.bounded(self.careful(table, where, tail, values))

    def bounded(self, pairs: Iterator[tuple[Any, Row]]) -> dict[Any, Row]:
        found: dict[Any, Row] = {}
        total = 0
        for key, row in pairs:
            total += row_bytes(row)
            if found and total > self.bytes:
                break
            found[key] = row
        return found

    def plain(self, table: Table, where: str, tail: str, values: Sequence[Value]) -> Iterator[tuple[Any, Row]]:
        sql = (
            f"SELECT {table.rowid or 0}, {table.select_list()} FROM {quote_identifier(table.name)} WHERE {where} {tail}"
        )
        for row in self.sqlite.execute(sql, values):
            yield (row[0] if table.rowid else row), row[1:]

    def careful(self, table: Table, where: str, tail: str, values: Sequence[Value]) -> Iterator[tuple[Any, Row]]:
        """Rows with invalid UTF-8 as bytes; rows with a value too large to hold are skipped."""
        names = [quote_identifier(column.name) for column in table.columns]
        small = f"{largest_cell(names)} <= {LARGE_CELL}"
        source = f"{quote_identifier(table.name)} WHERE {small} AND {where} {tail}"
        sql = f"SELECT {table.rowid or 0}, {typed_columns(names)} FROM {source}"
        for row in self.sqlite.execute(sql, values):
            yield (row[0] if table.rowid else row), decode_row(row[1:], self.schema.encoding)


EVIDENCE = 3  # distinct values that an undeclared key needs
# Names that say too little to imply a foreign key.
GENERIC = {"id", "name", "code", "key"}


def fill_order(schema: Schema, links: tuple[ForeignKey, ...]) -> list[str]:
    """Parents come first; a cycle is entered at its first table."""
    parents: dict[str, list[str]] = {name: [] for name in schema.tables}
    for link in links:
        parents[link.child].append(link.parent)
    done: dict[str, None] = {}
    for root in schema.tables:
        stack, open_ = [(root, iter(parents[root]))], {root}
        while stack:
            name, rest = stack[-1]
            following = next((p for p in rest if p not in done and p not in open_), None)
            if following is None:
                stack.pop()
                done[name] = None
            else:
                open_.add(following)
                stack.append((following, iter(parents[following])))
    return list(done)


def implied_foreign_keys(schema: Schema, rows: dict[str, list[Row]]) -> list[ForeignKey]:
    taken = {(link.child, column) for link in schema.links for column in link.columns}
    found: list[ForeignKey] = []
    for name, table in schema.tables.items():
        single = {key[0] for key in table.keys if len(key) == 1}
        for place, column in enumerate(table.columns):
            if (name, place) in taken or place in single:
                continue
            likely = named_like(schema, name, place, column.name)
            found += islice((link for link in likely if contained(schema, rows, link)), 1)
    return found


def named_like(schema: Schema, child: str, place: int, name: str) -> list[ForeignKey]:
    """Keys `x`, or `id` of a table `x`, for a column `x`, `x_id` or `xid`."""
    found = []
    for parent, table in schema.tables.items():
        for key in table.keys:
            if parent == child or len(key) != 1:
                continue
            key_name = table.columns[key[0]].name.lower()
            names = {f"{parent}_{key_name}", f"{parent}{key_name}"} | ({key_name} - GENERIC)
            if name.lower() in names:
                found.append(ForeignKey(child, (place,), parent, key))
    return found


def contained(schema: Schema, rows: dict[str, list[Row]], link: ForeignKey) -> bool:
    parent = schema.tables[link.parent]
    wanted = {fold_key(row, link.columns, parent, link.targets) for row in rows[link.child]} - {None}
    if len(wanted) < EVIDENCE:
        return False
    return wanted <= {fold_key(row, link.targets, parent, link.targets) for row in rows[link.parent]}


def repair_sample(schema: Schema, rows: dict[str, list[Row]], links: tuple[ForeignKey, ...], order: list[str]) -> None:
    """Point a key whose parent was left out to another row, or drop its row if it is part of a unique key.

    `order` has parents first, so that children see what is dropped from a parent.
    """
    # a dropped row may leave children behind, so repeat, at most once for each table
    for _ in order:
        changed = False
        for name in order:
            for link in (link for link in links if link.child == name):
                changed = repair_foreign_key(schema, rows, link) or changed
        if not changed:
            return


def repair_foreign_key(schema: Schema, rows: dict[str, list[Row]], link: ForeignKey) -> bool:
    parent, child = schema.tables[link.parent], schema.tables[link.child]
    known: dict[KeyValues, Row] = {}
    for row in rows[link.parent]:
        key = fold_key(row, link.targets, parent, link.targets)
        if key is not None:
            known[key] = row
    tight = any(set(link.columns) & set(key) for key in child.keys)
    kept, changed, keys = [], False, sorted(known, key=repr)
    for row in rows[link.child]:
        key = fold_key(row, link.columns, parent, link.targets)
        if key is None or key in known:
            kept.append(row)
            continue
        changed = True
        # a key that is part of a unique one could collide, so that row is dropped
        if not tight and keys:
            other = known[keys[seeded_random("close", link.child, key).randrange(len(keys))]]
            cells = list(row)
            for column, target in zip(link.columns, link.targets, strict=True):
                cells[column] = other[target]
            kept.append(tuple(cells))
    rows[link.child] = kept
    return changed


MANY = 100  # from so many rows on, texts that never repeat are taken for a key


@dataclass
class TablePlan:
    """The plan of one table.

    `singles` are columns whose values never repeat, by declaration or as far as the data shows; `links` are foreign
    keys to tables filled before, `later` those to be set afterwards. `order` is the order in which columns are drawn:
    determinants have at least as many values as the columns they determine. `checks` are the dependencies (determinant,
    column) that can be checked once a column is drawn.
    """

    name: str
    table: Table
    rows: list[Row]
    profiles: list[ColumnProfile]
    singles: frozenset[int]
    determined: dict[int, tuple[int, ...]]
    links: list[ForeignKey]
    later: list[ForeignKey]
    repeats: bool

    order: list[int] = field(init=False)
    checks: dict[int, list[tuple[int, int]]] = field(init=False)

    def __post_init__(self) -> None:
        self.order = sorted(range(len(self.profiles)), key=lambda n: (-len(self.profiles[n].values), n))
        self.checks = {}
        for column, determinants in self.determined.items():
            for pair in ((determinant, column) for determinant in determinants):
                self.checks.setdefault(max(pair, key=self.order.index), []).append(pair)


@dataclass
class SuitePlan:
    """Tables are in the order in which they are filled."""

    schema: Schema
    tables: list[TablePlan]
    held: tuple[ForeignKey, ...]


def make_plan(sqlite: apsw.Connection, caps: SuiteLimits, constants: Sequence[Constant]) -> SuitePlan:
    """Raises UnsuitableDatabaseError, apsw.Error, or UnicodeDecodeError (a name)."""
    schema = read_schema(sqlite, caps)
    sampler = RowSampler(sqlite, schema, caps)
    rows = sampler.read(fill_order(schema, schema.links))
    declared = [link for link in schema.links if not sampler.missing[link] and sampler.rows[link.parent]]
    held = (*declared, *implied_foreign_keys(schema, sampler.rows))
    order = fill_order(schema, held)
    repair_sample(schema, rows, held, order)
    tables = [plan_table(schema, name, rows[name], held, order) for name in order]
    assign_constants([p for table in tables for p in table.profiles], constants)
    return SuitePlan(schema, tables, held)


def plan_table(schema: Schema, name: str, rows: list[Row], held: Sequence[ForeignKey], order: list[str]) -> TablePlan:
    table, own = schema.tables[name], [link for link in held if link.child == name]
    columns = [list(cells) for cells in zip(*rows, strict=True)] if rows else [[] for _ in table.columns]
    profiles = [profile_column(cells) for cells in columns]
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
        determined=find_dependencies(rows, frozenset(singles)),
        links=[link for link in own if link.parent in filled],
        later=[link for link in own if link.parent not in filled],
        repeats=len(set(rows)) < len(rows),
    )


def presumed_key(table: Table, unique: set[int], own: Sequence[ForeignKey]) -> set[int]:
    """Without a declared key: the first column, or the first named `…id`, whose values never repeat.

    A column that refers to another table is unique by accident.
    """
    referring = {column for link in own for column in link.columns}
    named = [n for n, c in enumerate(table.columns) if n == 0 or c.name.lower().endswith("id")]
    return set([n for n in named if n in unique and n not in referring][:1])
