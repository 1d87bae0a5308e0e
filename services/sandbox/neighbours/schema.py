"""Tables, keys and foreign keys of a database, read inside the child."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import apsw

from services.sandbox.describe import ask, quoted
from services.sandbox.neighbours.caps import Caps

TABLES = """SELECT m.name, m.sql, l.wr FROM sqlite_master AS m
JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = m.name
WHERE m.type = 'table' AND l.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.rowid"""
INDEXES = "SELECT tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY rowid"
COLUMNS = 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid'
UNIQUE = """SELECT i.name, c.name FROM pragma_index_list(?) AS i, pragma_index_info(i.name) AS c
WHERE i."unique" AND NOT i.partial ORDER BY i.seq DESC, c.seqno"""
KEYS = 'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq'
ROWID_NAMES = ("rowid", "_rowid_", "oid")


class UnfitError(Exception):
    """The database cannot be varied; the text is a clause for the user."""


@dataclass(frozen=True)
class Column:
    """A stored column; `collation` is the one of its declaration."""

    name: str
    affinity: str
    required: bool
    collation: str


@dataclass(frozen=True)
class Table:
    """A table; columns in keys are positions, generated columns are left out. `keys` has the primary key first."""

    name: str
    sql: str
    columns: tuple[Column, ...]
    keys: tuple[tuple[int, ...], ...]
    rowid: str | None

    def select_list(self) -> str:
        """The stored columns as SQL."""
        return ", ".join(quoted(column.name) for column in self.columns)

    def position(self, name: str) -> int | None:
        """Where a column stands, by its name in any case."""
        places = [n for n, column in enumerate(self.columns) if column.name.lower() == name.lower()]
        return places[0] if places else None


@dataclass(frozen=True)
class Link:
    """A foreign key: `columns` of table `child` refer to `targets` of table `parent` (names in lower case)."""

    child: str
    columns: tuple[int, ...]
    parent: str
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Schema:
    """Tables by name in lower case, in the order of their creation."""

    tables: dict[str, Table]
    indexes: tuple[str, ...]
    links: tuple[Link, ...]
    encoding: str


def read_schema(sqlite: apsw.Connection, caps: Caps) -> Schema:
    """Everything but views, triggers, virtual tables and their shadows. Raises UnfitError for too large a schema."""
    found = ask(sqlite, TABLES)
    if not found:
        raise UnfitError("it has no ordinary table")
    if len(found) > caps.tables:
        raise UnfitError(f"it has {len(found)} tables, and at most {caps.tables} are varied")
    tables = {str(name).lower(): read_table(sqlite, name, sql, bool(wr)) for name, sql, wr in found}
    width = sum(len(table.columns) for table in tables.values())
    if width > caps.columns:
        raise UnfitError(f"it has {width} columns, and at most {caps.columns} are varied")
    indexes = tuple(str(sql) for name, sql in ask(sqlite, INDEXES) if str(name).lower() in tables)
    links = tuple(link for key in tables for link in read_links(sqlite, key, tables))
    return Schema(tables, indexes, links, str(ask(sqlite, "PRAGMA encoding")[0][0]))


def read_table(sqlite: apsw.Connection, name: str, sql: str, without_rowid: bool) -> Table:
    """One table with its keys."""
    rows = ask(sqlite, COLUMNS, name)
    columns = tuple(
        Column(c, affinity(str(kind or "")), bool(required), collation(sqlite, name, c))
        for c, kind, required, _ in rows
    )
    places = {column.name: n for n, column in enumerate(columns)}
    primary = tuple(places[c] for c, _, _, pk in sorted(rows, key=lambda row: int(row[3])) if pk)
    keys = [primary] if primary else []
    for _, group in groupby(ask(sqlite, UNIQUE, name), key=lambda row: row[0]):
        key = tuple(places.get(c, -1) for _, c in group)
        if -1 not in key and key not in keys:  # an index over an expression or a generated column is SQLite's to check
            keys.append(key)
    free = [r for r in ROWID_NAMES if r not in {column.name.lower() for column in columns}]
    return Table(name, sql, columns, tuple(keys), None if without_rowid or not free else free[0])


def collation(sqlite: apsw.Connection, table: str, column: str) -> str:
    """The collating sequence that a column was declared with."""
    return str(sqlite.column_metadata("main", table, column)[1])


def read_links(sqlite: apsw.Connection, key: str, tables: dict[str, Table]) -> list[Link]:
    """Declared foreign keys whose parent and columns exist."""
    child, found = tables[key], []
    for _, group in groupby(ask(sqlite, KEYS, child.name), key=lambda row: row[0]):
        parts: list[Any] = list(group)
        parent = tables.get(str(parts[0][1]).lower())
        if parent is None:
            continue
        columns = [child.position(part[2]) for part in parts]
        targets = target_places(parent, [part[3] for part in parts])
        if None not in columns and targets is not None and len(targets) == len(columns):
            found.append(Link(key, tuple(c for c in columns if c is not None), parent.name.lower(), targets))
    return found


def target_places(parent: Table, names: list[str | None]) -> tuple[int, ...] | None:
    """Columns that a foreign key names; a key that names none means the parent's primary key."""
    if names[0] is None:
        return parent.keys[0] if parent.keys else None
    places = [parent.position(str(name)) for name in names]
    return None if None in places else tuple(place for place in places if place is not None)


def affinity(declared: str) -> str:
    """SQLite's rules (datatype3.html, section 3.1)."""
    kind = declared.upper()
    if "INT" in kind:
        return "INTEGER"
    if any(part in kind for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not kind or "BLOB" in kind:
        return "BLOB"
    return "REAL" if any(part in kind for part in ("REAL", "FLOA", "DOUB")) else "NUMERIC"
