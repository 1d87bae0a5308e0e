"""Tables, keys and foreign keys of a database, and its cells, read inside the child.

Text may be invalid in the database's encoding, so a careful read takes each cell as its storage class and bytes.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from random import Random
from typing import Any

import apsw

from services.sandbox.execution.connection import fetch_all, quote_identifier


@dataclass(frozen=True)
class SuiteLimits:
    """Limits on rows and bytes. A larger table is subsampled, a larger schema is refused.

    `rows` and `bytes` hold over all tables; each gets an equal part of at most `table_rows` and at least `least_rows`.
    """

    table_rows: int = 500
    least_rows: int = 20
    rows: int = 8_000
    bytes: int = 16_000_000
    tables: int = 400
    columns: int = 4_000
    constants: int = 200
    constant_chars: int = 200
    databases: int = 100

    def share(self, tables: int) -> int:
        return max(self.least_rows, min(self.table_rows, self.rows // max(1, tables)))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "SuiteLimits":
        return cls(**json.loads(text))


TABLES = """SELECT m.name, m.sql, l.wr FROM sqlite_master AS m
JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = m.name
WHERE m.type = 'table' AND l.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.rowid"""
INDEXES = "SELECT tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY rowid"
COLUMNS = 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid'
UNIQUE = """SELECT i.name, c.name FROM pragma_index_list(?) AS i, pragma_index_info(i.name) AS c
WHERE i."unique" AND NOT i.partial ORDER BY i.seq DESC, c.seqno"""
KEYS = 'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq'
# Any of these is hidden by a column of the same name.
ROWID_NAMES = ("rowid", "_rowid_", "oid")


class UnsuitableDatabaseError(Exception):
    """The database cannot be varied; the message is a clause for the user."""


@dataclass(frozen=True)
class Column:
    name: str
    affinity: str
    required: bool
    collation: str


@dataclass(frozen=True)
class Table:
    """Columns in keys are positions, generated columns are left out. `keys` has the primary key first."""

    name: str
    sql: str
    columns: tuple[Column, ...]
    keys: tuple[tuple[int, ...], ...]
    rowid: str | None

    def select_list(self) -> str:
        return ", ".join(quote_identifier(column.name) for column in self.columns)

    def position(self, name: str) -> int | None:
        places = [n for n, column in enumerate(self.columns) if column.name.lower() == name.lower()]
        return places[0] if places else None


@dataclass(frozen=True)
class ForeignKey:
    """`columns` of table `child` refer to `targets` of table `parent` (names in lower case)."""

    child: str
    columns: tuple[int, ...]
    parent: str
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Schema:
    """Tables by name in lower case, in order of creation."""

    tables: dict[str, Table]
    indexes: tuple[str, ...]
    links: tuple[ForeignKey, ...]
    encoding: str


def read_schema(sqlite: apsw.Connection, caps: SuiteLimits) -> Schema:
    """Ignores views, triggers and virtual tables. Raises UnsuitableDatabaseError if the schema is too large."""
    found = fetch_all(sqlite, TABLES)
    if not found:
        raise UnsuitableDatabaseError("it has no ordinary table")
    if len(found) > caps.tables:
        raise UnsuitableDatabaseError(f"it has {len(found)} tables, and at most {caps.tables} are varied")
    tables = {str(name).lower(): read_table(sqlite, name, sql, bool(wr)) for name, sql, wr in found}
    width = sum(len(table.columns) for table in tables.values())
    if width > caps.columns:
        raise UnsuitableDatabaseError(f"it has {width} columns, and at most {caps.columns} are varied")
    indexes = tuple(str(sql) for name, sql in fetch_all(sqlite, INDEXES) if str(name).lower() in tables)
    links = tuple(link for key in tables for link in read_foreign_keys(sqlite, key, tables))
    return Schema(tables, indexes, links, str(fetch_all(sqlite, "PRAGMA encoding")[0][0]))


def read_table(sqlite: apsw.Connection, name: str, sql: str, without_rowid: bool) -> Table:
    rows = fetch_all(sqlite, COLUMNS, name)
    columns = tuple(
        Column(c, affinity(str(kind or "")), bool(required), str(sqlite.column_metadata("main", name, c)[1]))
        for c, kind, required, _ in rows
    )
    places = {column.name: n for n, column in enumerate(columns)}
    primary = tuple(places[c] for c, _, _, pk in sorted(rows, key=lambda row: int(row[3])) if pk)
    keys = [primary] if primary else []
    for _, group in groupby(fetch_all(sqlite, UNIQUE, name), key=lambda row: row[0]):
        key = tuple(places.get(c, -1) for _, c in group)
        if -1 not in key and key not in keys:  # SQLite checks indexes over expressions and generated columns
            keys.append(key)
    free = [r for r in ROWID_NAMES if r not in {column.name.lower() for column in columns}]
    return Table(name, sql, columns, tuple(keys), None if without_rowid or not free else free[0])


def read_foreign_keys(sqlite: apsw.Connection, key: str, tables: dict[str, Table]) -> list[ForeignKey]:
    child, found = tables[key], []
    for _, group in groupby(fetch_all(sqlite, KEYS, child.name), key=lambda row: row[0]):
        parts: list[Any] = list(group)
        parent = tables.get(str(parts[0][1]).lower())
        if parent is None:
            continue
        columns = [child.position(part[2]) for part in parts]
        targets = target_places(parent, [part[3] for part in parts])
        if None not in columns and targets is not None and len(targets) == len(columns):
            found.append(ForeignKey(key, tuple(c for c in columns if c is not None), parent.name.lower(), targets))
    return found


def target_places(parent: Table, names: list[str | None]) -> tuple[int, ...] | None:
    """A key that names no columns means the parent's primary key."""
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


NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
NUMERIC = frozenset({"INTEGER", "REAL", "NUMERIC"})


@dataclass(frozen=True)
class RawText:
    """Text whose bytes are invalid in the database's encoding; it is copied, never changed."""

    data: bytes


Value = None | int | float | str | bytes | RawText
Row = tuple[Value, ...]


def seeded_random(*names: object) -> Random:
    """A generator per name, the same on every machine whatever else is drawn (Random hashes text itself)."""
    return Random("/".join(repr(name) for name in names))


def sort_key(value: Value) -> tuple[Any, ...]:
    """A total order over cells: NULL, numbers, text, blobs, raw text."""
    if value is None:
        return (0,)
    if isinstance(value, int | float):
        return (1, value, isinstance(value, float))
    if isinstance(value, str):
        return (2, value)
    return (3, value) if isinstance(value, bytes) else (4, value.data)


def number_in(text: str) -> int | float | None:
    if len(text) > 100 or not NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def fold_value(value: Value, affinity: str, collation: str) -> Value:
    if isinstance(value, str):
        found = number_in(value) if affinity in NUMERIC else None
        if found is not None:
            return found
        if collation.upper() == "NOCASE":
            return "".join(c.lower() if c.isascii() else c for c in value)
        return value.rstrip(" ") if collation.upper() == "RTRIM" else value
    if affinity == "TEXT" and isinstance(value, int | float):
        return str(value)
    return value


def row_bytes(row: Row) -> int:
    return sum(len(v) if isinstance(v, str | bytes) else len(v.data) if isinstance(v, RawText) else 8 for v in row)


def typed_columns(names: Sequence[str]) -> str:
    """SQL for the cells of quoted columns, two results each: storage class and value (text as a blob)."""
    return ", ".join(f"typeof({n}), iif(typeof({n}) = 'text', CAST({n} AS BLOB), {n})" for n in names)


def largest_cell(names: Sequence[str]) -> str:
    """SQL for the size of a row's largest cell; nested because a function takes a limited number of arguments."""
    sizes = [f"coalesce(octet_length({name}), 0)" for name in names]
    while len(sizes) > 1:
        sizes = [f"max(0, {', '.join(sizes[n : n + 50])})" for n in range(0, len(sizes), 50)]
    return sizes[0]


def decode_row(row: Sequence[Any], encoding: str) -> Row:
    return tuple(decode_cell(kind, cell, encoding) for kind, cell in zip(row[::2], row[1::2], strict=True))


def decode_cell(kind: str, cell: Any, encoding: str) -> Value:
    if kind != "text":
        found: Value = cell
        return found
    try:
        return str(cell, encoding)
    except UnicodeDecodeError:
        return RawText(bytes(cell))
