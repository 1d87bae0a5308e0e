"""The child that writes test-suite databases of one database and ends.

Start: `python -m services.sandbox.test_suites.child LIMITS_JSON PROGRESS_FD FILES_FD`.
"""

import re
from collections.abc import Iterable
from typing import Any

import apsw

from services.sandbox.execution.authorizer import Authorizer
from services.sandbox.execution.child_loop import serve_once
from services.sandbox.execution.connection import (
    DeadlineClock,
    ReadConnection,
    fetch_all,
    harden,
    quote_identifier,
    set_limits,
)
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.outcomes import classify_error
from services.sandbox.execution.protocol import given_path, write_all
from services.sandbox.execution.sql_text import is_blank
from services.sandbox.test_suites.plan import SuitePlan, TablePlan, make_plan
from services.sandbox.test_suites.rows import RowVariation
from services.sandbox.test_suites.schema import (
    ForeignKey,
    RawText,
    Row,
    Schema,
    SuiteLimits,
    Table,
    UnsuitableDatabaseError,
    decode_row,
    fold_value,
    seeded_random,
    typed_columns,
)
from shared.sql.tokens import tokens

CREATE = re.compile(r"CREATE (TABLE|INDEX|UNIQUE INDEX)\b")
PAGE = 4096


class VariantDatabase:
    """A database in memory with the original's tables and indexes, created by the original statements."""

    def __init__(self, schema: Schema, limits: Limits, clock: DeadlineClock) -> None:
        self.schema = schema
        self.sqlite = apsw.Connection(":memory:", statementcachesize=100)
        self.sqlite.set_progress_handler(clock.over, limits.progress_steps)
        harden(self.sqlite)
        self.sqlite.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 1)  # old schemas have defaults like "x"
        pages = limits.build_file_bytes // PAGE
        for setting in (f"page_size={PAGE}", f"encoding='{schema.encoding}'", f"max_page_count={pages}"):
            fetch_all(self.sqlite, f"PRAGMA {setting}")
        # cycles cannot be inserted in any order; `repair` deletes what dangles at the end
        fetch_all(self.sqlite, "PRAGMA foreign_keys=0")
        set_limits(self.sqlite, limits)
        self.sqlite.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, limits.build_script_bytes)
        self.guard = Authorizer().building()
        self.statements: dict[tuple[str, tuple[int, ...]], str] = {}
        fetch_all(self.sqlite, "BEGIN")
        for sql in (*(table.sql for table in schema.tables.values()), *schema.indexes):
            self.create(sql)
        self.sqlite.authorizer = self.guard

    def create(self, sql: str) -> None:
        words = " ".join(text.upper() for kind, text in tokens(sql) if kind == "word")
        seen: list[str] = []

        def begin(_cursor: apsw.Cursor, statement: str, _bindings: Any) -> bool:
            # the entry comes from a hostile file: a second statement must not run
            if seen or not is_blank(sql[len(statement) :]):
                raise UnsuitableDatabaseError("its schema holds more than one statement in an entry")
            seen.append(statement)
            return True

        if not CREATE.match(words):
            raise UnsuitableDatabaseError("its schema holds an entry that creates neither a table nor an index")
        cursor = self.sqlite.cursor()
        cursor.exec_trace = begin
        self.sqlite.authorizer = self.guard
        try:
            cursor.execute(sql).fetchall()
        finally:
            self.sqlite.authorizer = None

    def insert(self, table: Table, row: Row) -> bool:
        """False if the row breaks a constraint."""
        raw = tuple(n for n, value in enumerate(row) if isinstance(value, RawText))
        key = (table.name, raw)
        if key not in self.statements:
            marks = ", ".join("CAST(? AS TEXT)" if n in raw else "?" for n in range(len(row)))
            self.statements[key] = f"INSERT INTO {quote_identifier(table.name)}({table.select_list()}) VALUES ({marks})"
        values = [value.data if isinstance(value, RawText) else value for value in row] if raw else row
        try:
            self.sqlite.execute(self.statements[key], values)
        except (apsw.ConstraintError, apsw.MismatchError):
            return False
        return True

    def keys(self, link: ForeignKey) -> list[Row]:
        parent = self.schema.tables[link.parent]
        names = [quote_identifier(parent.columns[place].name) for place in link.targets]
        known = " AND ".join(f"{name} IS NOT NULL" for name in names)
        rest = f"FROM {quote_identifier(parent.name)} WHERE {known}"
        try:
            keys = self.sqlite.execute(f"SELECT {', '.join(names)} {rest}").fetchall()
        except UnicodeDecodeError:
            rows = self.sqlite.execute(f"SELECT {typed_columns(names)} {rest}")
            keys = [decode_row(row, self.schema.encoding) for row in rows]
        return [key for key in keys if self.fits(link, key)]

    def fits(self, link: ForeignKey, key: Row) -> bool:
        """Whether a parent's key stays the same in the child: '007' in a numeric column does not."""
        child, parent = self.schema.tables[link.child], self.schema.tables[link.parent]
        for value, place, target in zip(key, link.columns, link.targets, strict=True):
            affinity, collation = parent.columns[target].affinity, parent.columns[target].collation
            stored = fold_value(value, child.columns[place].affinity, "BINARY")
            if fold_value(stored, affinity, collation) != fold_value(value, affinity, collation):
                return False
        return True

    def dangling(self, link: ForeignKey) -> str:
        child, parent = self.schema.tables[link.child], self.schema.tables[link.parent]
        name = quote_identifier(child.name)
        own = [f"{name}.{quote_identifier(child.columns[place].name)}" for place in link.columns]
        theirs = [f"p.{quote_identifier(parent.columns[place].name)}" for place in link.targets]
        # as SQLite checks foreign keys: the parent's affinity and collation decide, so the child's is stripped by +
        equal = " AND ".join(f"{b} = +{a}" for a, b in zip(own, theirs, strict=True))
        known = " AND ".join(f"{name} IS NOT NULL" for name in own)
        return f"{known} AND NOT EXISTS (SELECT 1 FROM {quote_identifier(parent.name)} AS p WHERE {equal})"

    def mend(self, link: ForeignKey, replacements: Iterable[Row]) -> None:
        """Point each dangling key to a parent of `replacements` in turn, the same key always to the same parent."""
        child = self.schema.tables[link.child]
        table, names = quote_identifier(child.name), [quote_identifier(child.columns[n].name) for n in link.columns]
        keys = ", ".join(names)
        self.sqlite.authorizer = None
        try:
            broken = fetch_all(self.sqlite, f"SELECT DISTINCT {keys} FROM {table} WHERE {self.dangling(link)}")
        except UnicodeDecodeError:
            broken = []  # `repair` deletes them
        same = " AND ".join(f"{name} = ?" for name in names)
        update = f"UPDATE OR IGNORE {table} SET ({keys}) = ({', '.join('?' * len(names))}) WHERE {same}"
        for old, new in zip(broken, replacements, strict=False):
            self.sqlite.execute(update, (*new, *old))
        self.sqlite.authorizer = self.guard

    def repair(self, links: Iterable[ForeignKey]) -> None:
        self.sqlite.authorizer = None
        last = -1
        # a deleted row may leave its children dangling
        while self.sqlite.total_changes() != last:
            last = self.sqlite.total_changes()
            for link in links:
                child = quote_identifier(self.schema.tables[link.child].name)
                self.sqlite.execute(f"DELETE FROM {child} WHERE {self.dangling(link)}")
        self.sqlite.authorizer = self.guard

    def empty(self, table: Table) -> bool:
        return not self.sqlite.execute(f"SELECT 1 FROM {quote_identifier(table.name)} LIMIT 1").fetchall()

    def content(self) -> bytes:
        """The finished file; the database cannot be used after this."""
        self.sqlite.authorizer = None
        fetch_all(self.sqlite, "COMMIT")
        data = bytes(self.sqlite.serialize("main"))
        self.sqlite.close(True)
        return data


DRAWS = 3  # before the base row is tried
CLOCK_EVERY = 64  # rows


class VariantWriter:
    """Writes the variants of one plan; each has a random seed that follows from its index."""

    def __init__(self, plan: SuitePlan, limits: Limits, clock: DeadlineClock, seed: int, most: int) -> None:
        self.plan, self.limits, self.clock, self.seed, self.most = plan, limits, clock, seed, most

    def variant(self, index: int) -> bytes:
        """The file of variant `index`; the sampled rows unchanged if a table would end up empty."""
        target = VariantDatabase(self.plan.schema, self.limits, self.clock)
        for table in self.plan.tables:
            self.fill(target, table, (self.seed, index))
        for table in self.plan.tables:
            for link in table.later:  # foreign keys whose parents came later
                target.mend(link, self.replacements(target, table, link, (self.seed, index)))
        target.repair(self.plan.held)
        if any(table.rows and target.empty(table.table) for table in self.plan.tables):
            target = VariantDatabase(self.plan.schema, self.limits, self.clock)
            for table in self.plan.tables:
                for row in table.rows:
                    target.insert(table.table, row)
            target.repair(self.plan.held)
        return target.content()

    def fill(self, target: VariantDatabase, table: TablePlan, names: tuple[object, ...]) -> None:
        """A row that breaks a rule is drawn again, then its base row is tried, then it is dropped."""
        rows = RowVariation(table, {link: target.keys(link) for link in table.links}, names)
        for number, base in enumerate(rows.bases(self.most)):
            if number % CLOCK_EVERY == 0:
                self.clock.check()
            for draw in range(DRAWS + 1):
                # the last try uses the base row unchanged
                row = rows.make(base, vary=draw < DRAWS)
                if row is not None and target.insert(table.table, row):
                    rows.accept(row)
                    break

    def replacements(
        self, target: VariantDatabase, table: TablePlan, link: ForeignKey, names: tuple[object, ...]
    ) -> list[Row]:
        """Random parents; none if another column depends on the key."""
        on_key = {d for determinants in table.determined.values() for d in determinants}
        keys = target.keys(link)
        if not keys or on_key & set(link.columns):
            return []
        chance = seeded_random(*names, table.name, "later", link.columns)
        return [chance.choice(keys) for _ in range(self.most)]


def write_variants(request: dict[str, Any], files: list[int], limits: Limits, clock: DeadlineClock) -> None:
    caps = SuiteLimits.from_json(request["caps"])
    source = ReadConnection(given_path(files[0]), limits, clock)
    source.sqlite.authorizer = (
        None  # from here on no hostile statement runs, and only stored columns of tables are read
    )
    plan = make_plan(source.sqlite, caps, request["constants"])
    source.close()
    writer = VariantWriter(plan, limits, clock, request["seed"], caps.share(len(plan.tables)))
    for index, file in enumerate(files[1:]):
        write_all(file, writer.variant(index))


def answer(request: dict[str, Any], files: list[int], limits: Limits) -> dict[str, Any]:
    """Return `{}` when all files are complete, otherwise `unfit` with the reason."""
    clock = DeadlineClock()
    clock.start(request["deadline_s"])
    try:
        write_variants(request, files, limits, clock)
    except UnsuitableDatabaseError as error:
        return {"unfit": str(error)}
    except UnicodeDecodeError:
        return {"unfit": "a name in its schema is not valid UTF-8"}
    except (apsw.Error, MemoryError, OSError) as error:
        return {"unfit": explain(error)}
    return {}


def explain(error: Exception) -> str:
    if isinstance(error, apsw.InterruptError):
        return "varying it ran past the deadline"
    return classify_error(error).message if isinstance(error, MemoryError | apsw.NoMemError) else str(error)


if __name__ == "__main__":
    serve_once(answer, writes=True)
