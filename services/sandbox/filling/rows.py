"""Rows for every table of a schema: parents first, keys that refer to them, some rows that a gold's filters find."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from services.sandbox.describe import quoted
from services.sandbox.filling.values import Value, unique_columns, usual
from services.sandbox.filling.wants import Wants, satisfying, wants
from shared.catalog.databases import ForeignKeyCard, TableCard

# Which parent the rows for the filters share: that of their first key, that of their last, or each its own.
Sharing = Literal["first", "last", "none"]
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)
PLAIN_ROWS = 6
CHILDLESS = 2
OFFSET = 1000  # where rows are there already, so that no key is taken
Row = dict[str, Value]


def inserts(tables: Iterable[TableCard], gold: str, sharing: Sharing) -> list[str]:
    """One INSERT a table; a row that breaks a constraint is passed over by SQLite."""
    known = {table.name.lower(): table for table in tables}
    columns = {name: frozenset(c.name.lower() for c in table.columns) for name, table in known.items()}
    filler = Filler(known, wants(gold, columns), sharing)
    return [statement(known[name], filler.rows[name]) for name in filler.order]


class Filler:
    """Makes the rows of all tables."""

    def __init__(self, tables: Mapping[str, TableCard], wanted: Wants, sharing: Sharing) -> None:
        self.tables, self.wanted, self.sharing = tables, handed_up(tables, wanted), sharing
        self.branches = max(1, len(wanted.selects))
        self.planned = self.branches * wanted.rows
        self.count = self.planned + PLAIN_ROWS
        self.order = parents_first(tables)
        self.rows: dict[str, list[Row]] = {}
        for name in self.order:
            self.rows[name] = [self.row(name, place) for place in range(self.count)]

    def row(self, name: str, place: int) -> Row:
        """One row; the first `planned` ones meet the filters."""
        table = self.tables[name]
        offset = OFFSET if table.row_count else 0
        found: Row = {}
        single = unique_columns(table)
        for column in table.columns:
            alike = self.sharing != "none" and place < self.planned and not column.primary_key
            alike = alike and column.name.lower() not in single
            found[column.name.lower()] = usual(table, column, offset * column.primary_key + (0 if alike else place))
        for number, key in enumerate(table.foreign_keys):
            found[key.column.lower()] = self.reference(name, key, self.parent(table, number, place))
        if place < self.planned:
            self.meet(name, place, found)
        return found

    def meet(self, name: str, place: int, found: Row) -> None:
        """Sets what the filters want: those of one SELECT, and on the first row, which others share, of all."""
        met: set[str] = set(self.referring(name))
        rest = self.wanted.selects[1:] if place == 0 and self.sharing != "none" else []
        for select in [*self.wanted.selects[place % self.branches :][:1], *rest]:
            for (table, column), conditions in select.items():
                if table == name and column not in met:
                    found[column] = satisfying(conditions, found.get(column))
                    met.add(column)

    def referring(self, name: str) -> set[str]:
        """Columns that are foreign keys: their parents' values decide."""
        return {key.column.lower() for key in self.tables[name].foreign_keys}

    def parent(self, table: TableCard, number: int, place: int) -> int:
        """Which row of its parent a row's key refers to; the last parents have no children."""
        shared = {"first": 0, "last": len(table.foreign_keys) - 1, "none": -1}[self.sharing]
        if place < self.planned:
            return 0 if number == shared else place
        return place % (self.count - CHILDLESS)

    def reference(self, name: str, key: ForeignKeyCard, place: int) -> Value:
        """The parent's value; NULL where it is not there yet (a table that refers to itself, a circle)."""
        rows = self.rows.get(key.to_table.lower())
        if rows is None or key.to_table.lower() == name:
            return None
        return rows[place].get(key.to_column.lower())


def handed_up(tables: Mapping[str, TableCard], wanted: Wants) -> Wants:
    """The wants with those of foreign keys given to the keys that they refer to: a parent decides its children's."""
    selects = [dict(select) for select in wanted.selects]
    for name in reversed(parents_first(tables)):
        for key in tables[name].foreign_keys:
            for select in selects:
                conditions = select.get((name, key.column.lower()))
                if conditions and key.to_table.lower() != name:
                    select.setdefault((key.to_table.lower(), key.to_column.lower()), conditions)
    return Wants(selects, wanted.rows)


def parents_first(tables: Mapping[str, TableCard]) -> list[str]:
    """Names of tables in an order in which keys can be met."""
    done: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        if name in done or name in above or name not in tables:
            return
        for key in tables[name].foreign_keys:
            visit(key.to_table.lower(), above | {name})
        done[name] = None

    for name in tables:
        visit(name, frozenset())
    return list(done)


def statement(table: TableCard, rows: list[Row]) -> str:
    """One INSERT of all rows whose parents are there: SQLite may have passed over some of these."""
    names = ", ".join(quoted(column.name) for column in table.columns)
    values = ", ".join(
        "(" + ", ".join(literal(row[column.name.lower()]) for column in table.columns) + ")" for row in rows
    )
    places = {column.name.lower(): number for number, column in enumerate(table.columns, 1)}
    met = [
        f"(column{places[key.column.lower()]} IS NULL OR column{places[key.column.lower()]} IN "
        f"(SELECT {quoted(key.to_column)} FROM {quoted(key.to_table)}))"
        for key in table.foreign_keys
        if key.column.lower() in places
    ]
    head = f"INSERT OR IGNORE INTO {quoted(table.name)} ({names})"
    return f"{head} SELECT * FROM (VALUES {values}) WHERE {' AND '.join(met)}" if met else f"{head} VALUES {values}"


def literal(value: Value) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''").replace("\x00", "") + "'" if isinstance(value, str) else repr(value)
