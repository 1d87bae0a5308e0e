"""The database file of one neighbour, made in memory under the walls of a build."""

import re
from collections.abc import Iterable
from typing import Any

import apsw

from services.sandbox.authorizer import Gate
from services.sandbox.connection import Clock, harden, set_limits
from services.sandbox.describe import ask, quoted
from services.sandbox.limits import Limits
from services.sandbox.neighbours.cells import decoded_row, typed
from services.sandbox.neighbours.schema import Link, Schema, Table, UnfitError
from services.sandbox.neighbours.values import RawText, Row, folded
from services.sandbox.text import only_blank, tokens

CREATE = re.compile(r"CREATE (TABLE|INDEX|UNIQUE INDEX)\b")
PAGE = 4096


class Target:
    """An empty database with the original's tables and indexes, statement by statement as they were written."""

    def __init__(self, schema: Schema, limits: Limits, clock: Clock) -> None:
        self.schema = schema
        self.sqlite = apsw.Connection(":memory:", statementcachesize=100)
        self.sqlite.set_progress_handler(clock.over, limits.progress_steps)
        harden(self.sqlite)
        self.sqlite.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 1)  # old schemas have defaults like "x"
        pages = limits.build_file_bytes // PAGE
        for setting in (f"page_size={PAGE}", f"encoding='{schema.encoding}'", f"max_page_count={pages}"):
            ask(self.sqlite, f"PRAGMA {setting}")
        ask(self.sqlite, "PRAGMA foreign_keys=0")
        set_limits(self.sqlite, limits)
        self.sqlite.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, limits.build_script_bytes)
        self.guard = Gate().building()
        self.statements: dict[tuple[str, tuple[int, ...]], str] = {}
        ask(self.sqlite, "BEGIN")
        for sql in (*(table.sql for table in schema.tables.values()), *schema.indexes):
            self.create(sql)
        self.sqlite.authorizer = self.guard

    def create(self, sql: str) -> None:
        """One CREATE statement of a schema that anyone may have written."""
        words = " ".join(text.upper() for kind, text in tokens(sql) if kind == "word")
        seen: list[str] = []

        def begin(_cursor: apsw.Cursor, statement: str, _bindings: Any) -> bool:
            if seen or not only_blank(sql[len(statement) :]):
                raise UnfitError("its schema holds more than one statement in an entry")
            seen.append(statement)
            return True

        if not CREATE.match(words):
            raise UnfitError("its schema holds an entry that creates neither a table nor an index")
        cursor = self.sqlite.cursor()
        cursor.exec_trace = begin
        self.sqlite.authorizer = self.guard
        try:
            cursor.execute(sql).fetchall()
        finally:
            self.sqlite.authorizer = None

    def insert(self, table: Table, row: Row) -> bool:
        """Whether the row keeps every constraint and is in the table now."""
        raw = tuple(n for n, value in enumerate(row) if isinstance(value, RawText))
        key = (table.name, raw)
        if key not in self.statements:
            marks = ", ".join("CAST(? AS TEXT)" if n in raw else "?" for n in range(len(row)))
            self.statements[key] = f"INSERT INTO {quoted(table.name)}({table.select_list()}) VALUES ({marks})"
        values = [value.data if isinstance(value, RawText) else value for value in row] if raw else row
        try:
            self.sqlite.execute(self.statements[key], values)
        except (apsw.ConstraintError, apsw.MismatchError):
            return False
        return True

    def keys(self, link: Link) -> list[Row]:
        """Keys of the parent as they lie in the database, in a fixed order."""
        parent = self.schema.tables[link.parent]
        names = [quoted(parent.columns[place].name) for place in link.targets]
        known = " AND ".join(f"{name} IS NOT NULL" for name in names)
        rest = f"FROM {quoted(parent.name)} WHERE {known}"
        try:
            keys = self.sqlite.execute(f"SELECT {', '.join(names)} {rest}").fetchall()
        except UnicodeDecodeError:
            rows = self.sqlite.execute(f"SELECT {typed(names)} {rest}")
            keys = [decoded_row(row, self.schema.encoding) for row in rows]
        return [key for key in keys if self.fits(link, key)]

    def fits(self, link: Link, key: Row) -> bool:
        """Whether a parent's key is still the same once it lies in the child: '007' in a column of numbers is not."""
        child, parent = self.schema.tables[link.child], self.schema.tables[link.parent]
        for value, place, target in zip(key, link.columns, link.targets, strict=True):
            about = parent.columns[target]
            stored = folded(value, child.columns[place].affinity, "BINARY")
            if folded(stored, about.affinity, about.collation) != folded(value, about.affinity, about.collation):
                return False
        return True

    def dangling(self, link: Link) -> str:
        """A condition on the child: its key refers to no row."""
        child, parent = self.schema.tables[link.child], self.schema.tables[link.parent]
        own = [f"{quoted(child.name)}.{quoted(child.columns[place].name)}" for place in link.columns]
        theirs = [f"p.{quoted(parent.columns[place].name)}" for place in link.targets]
        # as SQLite checks foreign keys: the parent's affinity and collation decide, so the child's is stripped by +
        equal = " AND ".join(f"{b} = +{a}" for a, b in zip(own, theirs, strict=True))
        known = " AND ".join(f"{name} IS NOT NULL" for name in own)
        return f"{known} AND NOT EXISTS (SELECT 1 FROM {quoted(parent.name)} AS p WHERE {equal})"

    def mend(self, link: Link, replacements: Iterable[Row]) -> None:
        """Point each dangling key to a parent of `replacements`, in turn; the same key always to the same parent."""
        child = self.schema.tables[link.child]
        names = [quoted(child.columns[place].name) for place in link.columns]
        keys = ", ".join(names)
        self.sqlite.authorizer = None
        try:
            broken = ask(self.sqlite, f"SELECT DISTINCT {keys} FROM {quoted(child.name)} WHERE {self.dangling(link)}")
        except UnicodeDecodeError:
            broken = []  # `repair` deletes them
        update = f"UPDATE OR IGNORE {quoted(child.name)} SET ({keys}) = ({', '.join('?' * len(names))}) WHERE "
        update = update + " AND ".join(f"{name} = ?" for name in names)
        for old, new in zip(broken, replacements, strict=False):
            self.sqlite.execute(update, (*new, *old))
        self.sqlite.authorizer = self.guard

    def repair(self, links: Iterable[Link]) -> bool:
        """Delete rows whose key still dangles, until none does; whether any was deleted."""
        self.sqlite.authorizer = None
        before, last = self.sqlite.total_changes(), -1
        while self.sqlite.total_changes() != last:
            last = self.sqlite.total_changes()
            for link in links:
                child = quoted(self.schema.tables[link.child].name)
                self.sqlite.execute(f"DELETE FROM {child} WHERE {self.dangling(link)}")
        self.sqlite.authorizer = self.guard
        return self.sqlite.total_changes() != before

    def empty(self, table: Table) -> bool:
        """Whether the table has no row."""
        return not self.sqlite.execute(f"SELECT 1 FROM {quoted(table.name)} LIMIT 1").fetchall()

    def content(self) -> bytes:
        """The finished file; the target can not be used after this."""
        self.sqlite.authorizer = None
        ask(self.sqlite, "COMMIT")
        data = bytes(self.sqlite.serialize("main"))
        self.sqlite.close(True)
        return data
