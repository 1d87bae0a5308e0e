"""Rows of the original: all of a small table, a part of a large one that still holds the rows its children need."""

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from services.sandbox.describe import ask, quoted
from services.sandbox.neighbours.caps import Caps
from services.sandbox.neighbours.cells import decoded_row, largest, typed
from services.sandbox.neighbours.schema import Link, Schema, Table
from services.sandbox.neighbours.values import RawText, Row, Value, folded, size, stream

RUN = 20  # rows that are read in sequence: what was written together often belongs together
LARGE_CELL = 100_000  # bytes

Key = tuple[Value, ...]


def fold_key(row: Row, places: tuple[int, ...], parent: Table, targets: tuple[int, ...]) -> Key | None:
    """A key as the parent's columns compare it; None when a part is NULL, for then nothing is referred to."""
    pairs = zip(places, targets, strict=True)
    key = tuple(folded(row[p], parent.columns[t].affinity, parent.columns[t].collation) for p, t in pairs)
    return None if None in key else key


class Sampler:
    """Reads one database. `missing` has, for each link, the keys that the whole original lacks."""

    def __init__(self, sqlite: apsw.Connection, schema: Schema, caps: Caps) -> None:
        self.sqlite, self.schema = sqlite, schema
        self.rows: dict[str, list[Row]] = {}
        self.missing: dict[Link, set[Key]] = {}
        self.partial: set[str] = set()
        self.most = caps.share(len(schema.tables))
        self.bytes = caps.bytes // len(schema.tables)

    def read(self, order: list[str]) -> dict[str, list[Row]]:
        """Rows by table; `order` has parents first, so children are read before the rows that they need."""
        for name in reversed(order):
            self.rows[name] = self.table(name)
        for link in self.schema.links:
            if link not in self.missing:
                self.search(link)
        return self.rows

    def search(self, link: Link) -> None:
        """Find out which keys are nowhere: among the rows at hand, or in the original where those are a part."""
        parent = self.schema.tables[link.parent]
        if link.parent in self.partial:
            self.needed(parent, link, self.most)
        else:
            known = {fold_key(row, link.targets, parent, link.targets) for row in self.rows[link.parent]}
            self.missing[link] = self.wanted(link) - known

    def wanted(self, link: Link) -> set[Key]:
        """Keys that the child's rows refer to."""
        parent = self.schema.tables[link.parent]
        keys = (fold_key(row, link.columns, parent, link.targets) for row in self.rows[link.child])
        return {key for key in keys if key is not None}

    def table(self, name: str) -> list[Row]:
        """All rows, or about `most` of them."""
        table = self.schema.tables[name]
        whole = ask(self.sqlite, f"SELECT count(*) FROM (SELECT 1 FROM {quoted(table.name)} LIMIT {self.most + 1})")
        if whole[0][0] <= self.most:
            return list(self.select(table, "1", f"LIMIT {self.most}").values())
        self.partial.add(name)
        found: dict[Any, Row] = {}
        for link in self.schema.links:
            if link.parent == name and link.child in self.rows:
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
        """Where runs begin: evenly over the row ids, then by chance, fixed by the table's name."""
        ends = ask(self.sqlite, f"SELECT min({table.rowid}), max({table.rowid}) FROM {quoted(table.name)}")[0]
        low, high = int(ends[0]), int(ends[1])
        chance, runs = stream("sample", table.name), 2 * self.most // RUN
        even = [low + (high - low) * n // runs for n in range(0, runs, 2)]
        return even + [chance.randint(low, high) for _ in range(runs)]

    def needed(self, table: Table, link: Link, most: int) -> dict[Any, Row]:
        """Rows that the child's rows refer to, at most `most`; notes which of the keys are nowhere."""
        keys = sorted(self.wanted(link), key=repr)
        asked = [key for key in keys if not any(isinstance(part, RawText) for part in key)][: max(0, most)]
        if not asked:
            self.missing[link] = set()
            return {}
        names = ", ".join(quoted(table.columns[place].name) for place in link.targets)
        marks = ", ".join(["(" + ", ".join("?" * len(link.targets)) + ")"] * len(asked))
        values = [part for key in asked for part in key]
        found = self.select(table, f"({names}) IN (VALUES {marks})", f"LIMIT {most}", values)
        known = {fold_key(row, link.targets, table, link.targets) for row in found.values()}
        self.missing[link] = {key for key in asked if key not in known} if len(found) < most else set()
        return found

    def select(self, table: Table, where: str, tail: str, values: Sequence[Value] = ()) -> dict[Any, Row]:
        """Rows by row id (by themselves where the table has none), at most `bytes` of them together."""
        try:
            return self.bounded(self.plain(table, where, tail, values))
        except (UnicodeDecodeError, apsw.TooBigError):
            return self.bounded(self.careful(table, where, tail, values))

    def bounded(self, pairs: Iterator[tuple[Any, Row]]) -> dict[Any, Row]:
        """As many as fit, at least one."""
        found: dict[Any, Row] = {}
        total = 0
        for key, row in pairs:
            total += size(row)
            if found and total > self.bytes:
                break
            found[key] = row
        return found

    def plain(self, table: Table, where: str, tail: str, values: Sequence[Value]) -> Iterator[tuple[Any, Row]]:
        """Rows as SQLite gives them."""
        sql = f"SELECT {table.rowid or 0}, {table.select_list()} FROM {quoted(table.name)} WHERE {where} {tail}"
        for row in self.sqlite.execute(sql, values):
            yield (row[0] if table.rowid else row), row[1:]

    def careful(self, table: Table, where: str, tail: str, values: Sequence[Value]) -> Iterator[tuple[Any, Row]]:
        """Rows with text that is not UTF-8 as bytes; rows with a value too large to hold are passed over."""
        names = [quoted(column.name) for column in table.columns]
        small = f"{largest(names)} <= {LARGE_CELL}"
        sql = f"SELECT {table.rowid or 0}, {typed(names)} FROM {quoted(table.name)} WHERE {small} AND {where} {tail}"
        for row in self.sqlite.execute(sql, values):
            yield (row[0] if table.rowid else row), decoded_row(row[1:], self.schema.encoding)
