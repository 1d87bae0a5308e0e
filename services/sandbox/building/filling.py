"""Rows for every table of a schema: parents first, with valid keys, and some that match a gold's filters."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import isfinite
from typing import Any, Literal, get_args

from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.sandbox.execution.connection import quote_identifier
from shared.catalog.databases import ColumnCard, ForeignKeyCard, TableCard
from shared.sql.parser import parse_one_sql
from shared.sql.tokens import tokens

Value = str | int | float | None

# fmt: off
FIRST = ("Ana", "Ben", "Carla", "Dmitri", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kaya", "Liam", "Mina",
         "Noor")
LAST = ("Alvarez", "Brandt", "Costa", "Dufour", "Eriksen", "Fontana", "Gruber", "Haddad", "Ivanov", "Jansen",
        "Kowalski")
# fmt: on
CITIES = ("Porto", "Graz", "Lyon", "Bergen", "Izmir", "Kyoto", "Quito", "Accra", "Perth", "Austin", "Tampere")
COUNTRIES = ("Portugal", "Austria", "France", "Norway", "Turkey", "Japan", "Ecuador", "Ghana", "Australia", "Finland")
KINDS = ("standard", "premium", "basic", "special", "regular")
STATES = ("active", "pending", "closed", "new")
THINGS = ("North", "River", "Maple", "Summit", "Harbor", "Cedar", "Willow", "Granite", "Meadow", "Aurora", "Delta")
NAMED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"first_?name|given", FIRST),
    (r"last_?name|surname|family", LAST),
    (r"city|town|location|place", CITIES),
    (r"country|nation", COUNTRIES),
    (r"status|state", STATES),
    (r"type|category|kind|level|class|genre|sex|gender", KINDS),
)
INT_DIGITS = 19  # more do not fit into SQLite's integers
FIRST_DAY = date(2019, 1, 14)
PEOPLE = re.compile(r"person|people|employee|student|customer|patient|author|member|teacher|user|guest|player|driver")
ABOUT_PEOPLE = re.compile(r"\bage\b|gender|\bsex\b|birth|salary")
UNIQUE_RULE = re.compile(r"\bUNIQUE\s*\(\s*[\"`\[]?(\w+)[\"`\]]?\s*\)", re.IGNORECASE)
IN_CHECK = re.compile(r"CHECK\s*\(\s*[\"`\[]?(\w+)[\"`\]]?\s+IN\s*\(([^()]*)\)", re.IGNORECASE)
BETWEEN_CHECK = re.compile(
    r"CHECK\s*\(\s*[\"`\[]?(\w+)[\"`\]]?\s+BETWEEN\s+(-?[\d.]+)\s+AND\s+(-?[\d.]+)", re.IGNORECASE
)
SQL_LITERAL = re.compile(r"'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)")


def usual_value(table: TableCard, column: ColumnCard, place: int) -> Value:
    """The value of row `place`; unique per row when the column is a key."""
    rule = allowed_values(table).get(column.name.lower())
    if rule is not None:
        return rule[place % len(rule)]
    name, kind = column.name.lower(), column.type
    # "times" names a count, not a moment
    if re.search(r"date|time(?!s)|_on$|_at$|birth|since", name) or kind.startswith(("DATE", "TIME")):
        return date_value(kind if "YEAR" not in name.upper() else "INT", place)
    if any(part in kind for part in ("CHAR", "TEXT", "CLOB")) or (not kind and not column.primary_key):
        return text_value(table, column, place)
    if not column.primary_key and any(part in kind for part in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        return round(12.5 + 37.25 * place, 2)
    if kind.startswith("BOOL"):
        return place % 2
    return integer_value(name, column.primary_key, place)


def date_value(kind: str, place: int) -> Value:
    day = FIRST_DAY + timedelta(days=97 * place)
    if "INT" in kind:
        return day.year
    return f"{day.isoformat()} 09:30:00" if "TIME" in kind else day.isoformat()


def integer_value(name: str, key: bool, place: int) -> int:
    if key:
        return place + 1
    if "year" in name:
        return 2012 + place % 12
    if "age" in name:
        return 21 + 7 * place % 50
    return 3 + 11 * place


def text_value(table: TableCard, column: ColumnCard, place: int) -> str:
    name = column.name.lower()
    if column.primary_key:
        return f"{table.name[:3].upper()}{place + 1:03d}"
    if "mail" in name:
        return f"{FIRST[place % len(FIRST)]}.{LAST[place % len(LAST)]}@example.org".lower()
    if "phone" in name:
        return f"555-{1000 + 37 * place:04d}"
    known = next((words for pattern, words in NAMED if re.search(pattern, name)), None)
    if known is not None:
        return known[place % len(known)]
    if "name" in name and holds_people(table):
        return f"{FIRST[place % len(FIRST)]} {LAST[(3 * place) % len(LAST)]}"
    return f"{THINGS[place % len(THINGS)]} {column.name.replace('_', ' ').lower()} {place + 1}"


def unique_columns(table: TableCard) -> set[str]:
    found = {*declared_unique(table.ddl), *(name.lower() for name in UNIQUE_RULE.findall(table.ddl))}
    return {column.name.lower() for column in table.columns} & found


def declared_unique(ddl: str) -> Iterator[str]:
    """Yield the first name of each part of a CREATE TABLE that has UNIQUE outside parentheses."""
    depth, name = 0, ""
    begins = False
    for kind, piece in tokens(ddl):
        if kind in ("blank", "comment"):
            continue
        if begins:
            name, begins = piece.strip("\"`[]'").lower(), False
        elif depth == 1 and piece.upper() == "UNIQUE":
            yield name
        depth += {"(": 1, ")": -1}.get(piece, 0)
        begins = depth == 1 and piece in "(,"


def holds_people(table: TableCard) -> bool:
    if PEOPLE.search(table.name.lower()):
        return True
    return any(ABOUT_PEOPLE.search(column.name.lower()) for column in table.columns)


def allowed_values(table: TableCard) -> dict[str, list[Value]]:
    """Values that simple CHECK constraints allow, by column in lower case."""
    found: dict[str, list[Value]] = {}
    for name, inside in IN_CHECK.findall(table.ddl):
        found[name.lower()] = [
            parse_number(written) if written else text.replace("''", "'")
            for text, written in SQL_LITERAL.findall(inside)
        ] or [None]
    for name, low, high in BETWEEN_CHECK.findall(table.ddl):
        try:
            begin, end = float(low), float(high)
        except ValueError:  # `1.2.3` looks like a number to the pattern
            continue
        if not isfinite(end - begin):
            continue
        steps = [begin + (end - begin) * part / 8 for part in range(1, 8)]
        found[name.lower()] = [int(step) if end - begin >= 8 else round(step, 2) for step in steps]
    return found


def parse_number(text: str) -> Value:
    """The number that a literal stands for; None when no column can hold it."""
    try:
        value = int(text) if text.removeprefix("-").isdecimal() and len(text) < INT_DIGITS else float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


Condition = tuple[str, Value]  # operator, literal
Key = tuple[str, str]  # table, column; lower case
FLIPPED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "=": "=", "!=": "!="}
SIGNS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.Like: "like",
}
MAX_GROUP_ROWS = 40  # a HAVING COUNT that asks for more is not met


@dataclass
class GoldConditions:
    """`selects`: for each SELECT of the gold, its conditions by table and column; `rows`: the size of a group."""

    selects: list[dict[Key, list[Condition]]] = field(default_factory=list)
    rows: int = 1


def read_conditions(gold: str, columns: Mapping[str, frozenset[str]]) -> GoldConditions:
    """Return the conditions of a gold; none when it cannot be parsed. `columns` is by table, all lower case."""
    try:
        tree = parse_one_sql(gold)
    except SqlglotError:
        return GoldConditions()
    found = GoldConditions()
    for select in tree.find_all(exp.Select):
        reader = SelectReader(select, columns)
        found.selects.append(reader.conditions())
        found.rows = max(found.rows, min(MAX_GROUP_ROWS, reader.group_rows()))
    return found


class SelectReader:
    def __init__(self, select: exp.Select, columns: Mapping[str, frozenset[str]]) -> None:
        self.select, self.columns = select, columns
        self.sources = {
            table.alias_or_name.lower(): table.name.lower()
            for table in select.find_all(exp.Table)
            if table.find_ancestor(exp.Select) is select and table.name.lower() in columns
        }

    def own(self) -> Iterator[exp.Expr]:
        """Nodes of this SELECT's conditions, without subqueries and negated ones."""
        for node in self.select.walk(prune=lambda node: isinstance(node, exp.Query) and node is not self.select):
            if node.find_ancestor(exp.Not) is None and node.find_ancestor(exp.Case) is None:
                yield node

    def conditions(self) -> dict[Key, list[Condition]]:
        found: dict[Key, list[Condition]] = defaultdict(list)
        for node in self.own():
            for key, condition in self.read(node):
                found[key].append(condition)
        return dict(found)

    def read(self, node: exp.Expr) -> Iterator[tuple[Key, Condition]]:
        sign = SIGNS.get(type(node))
        if sign is not None:
            sides = ((node.this, node.expression, sign), (node.expression, node.this, FLIPPED.get(sign)))
            for one, other, operator in sides:
                key, value = self.column(one), self.literal(other)
                if key is not None and value is not None and operator is not None:
                    yield key, (operator, value)
                    return
        elif isinstance(node, exp.Between):
            key, low, high = self.column(node.this), self.literal(node.args["low"]), self.literal(node.args["high"])
            if key is not None and low is not None and high is not None:
                yield from ((key, (">=", low)), (key, ("<=", high)))
        elif isinstance(node, exp.In) and node.expressions:
            key, value = self.column(node.this), self.literal(node.expressions[0])
            if key is not None and value is not None:
                yield key, ("=", value)
        elif isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            key = self.column(node.this)
            if key is not None:
                yield key, ("null", None)

    def column(self, node: exp.Expr | None) -> Key | None:
        """The table and column that a node names; functions such as LOWER and CAST are ignored."""
        while isinstance(node, exp.Lower | exp.Upper | exp.Trim | exp.Cast | exp.Paren):
            node = node.this
        if not isinstance(node, exp.Column):
            return None
        name = node.name.lower()
        if node.table:
            table = self.sources.get(node.table.lower())
            return (table, name) if table is not None and name in self.columns[table] else None
        return next(((table, name) for table in self.sources.values() if name in self.columns[table]), None)

    def literal(self, node: exp.Expr | None) -> Value:
        """A literal's value; a name in double quotes that no table has is a string."""
        if isinstance(node, exp.Neg):
            value = self.literal(node.this)
            return -value if isinstance(value, int | float) else None
        if isinstance(node, exp.Column) and not node.table and self.column(node) is None:
            return str(node.name)
        if not isinstance(node, exp.Literal):
            return None
        return str(node.this) if node.is_string else parse_number(str(node.this))

    def group_rows(self) -> int:
        having = self.select.args.get("having")
        most = 1
        for node in having.find_all(exp.GT, exp.GTE, exp.EQ) if having is not None else ():
            value = self.literal(node.expression)
            if isinstance(node.this, exp.Count) and isinstance(value, int):
                most = max(most, value + isinstance(node, exp.GT))
        return most


def satisfying_value(conditions: list[Condition], usual: Value) -> Value:
    """A value that meets as many conditions as possible, the first ones first; the usual one if it does."""
    candidates = [usual, *(one for condition in conditions for one in nearby_values(condition))]
    fulfilled = [[satisfies(condition, candidate) for condition in conditions] for candidate in candidates]
    best = max(range(len(candidates)), key=lambda place: (sum(fulfilled[place]), fulfilled[place][:1], -place))
    return candidates[best]


def nearby_values(condition: Condition) -> list[Value]:
    sign, value = condition
    if sign == "like" and isinstance(value, str):
        return [value.replace("%", "").replace("_", "a") or "a"]
    if isinstance(value, int | float):
        return [value, value + 1, value - 1, value + 0.5]
    if isinstance(value, str) and sign in (">", "<", ">=", "<="):
        return [value, value + "a", adjacent_text(value, 1), adjacent_text(value, -1)]
    return [value]


def adjacent_text(text: str, step: int) -> str:
    """A text of the same form just before or after: the last digit or letter that can move is moved."""
    for place in range(len(text) - 1, -1, -1):
        moved = chr(ord(text[place]) + step)
        if (text[place].isdigit() and moved.isdigit()) or (text[place].isalpha() and moved.isalpha()):
            return text[:place] + moved + text[place + 1 :]
    return text


def satisfies(condition: Condition, value: Value) -> bool:
    sign, literal = condition
    if sign == "null" or value is None:
        return sign == "null" and value is None
    if sign == "like":
        return isinstance(literal, str) and literal.strip("%_").lower() in str(value).lower()
    # numbers and texts compare only among themselves
    if isinstance(value, str) != isinstance(literal, str):
        return sign == "!="
    one: Any
    other: Any
    one, other = (value, literal) if isinstance(value, str) else (float(value), float(literal or 0))
    if sign in ("=", "!="):
        return (one == other) is (sign == "=")
    return bool({">": one > other, "<": one < other, ">=": one >= other, "<=": one <= other}[sign])


# Which parent rows for the filters share: that of their first key, of their last, or none.
Sharing = Literal["first", "last", "none"]
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)
PLAIN_ROWS = 6  # beyond those that match the filters
CHILDLESS = 2  # parents to which no plain row refers
OFFSET = 1000  # added where the table has rows already, so that no key is taken
FilledRow = dict[str, Value]


def fill_inserts(tables: Iterable[TableCard], gold: str, sharing: Sharing) -> list[str]:
    known = {table.name.lower(): table for table in tables}
    columns = {name: frozenset(c.name.lower() for c in table.columns) for name, table in known.items()}
    filler = RowFiller(known, read_conditions(gold, columns), sharing)
    return [insert_statement(known[name], filler.rows[name]) for name in filler.order]


class RowFiller:
    def __init__(self, tables: Mapping[str, TableCard], wanted: GoldConditions, sharing: Sharing) -> None:
        self.tables, self.wanted, self.sharing = tables, pass_to_parents(tables, wanted), sharing
        self.branches = max(1, len(wanted.selects))
        self.planned = self.branches * wanted.rows
        self.count = self.planned + PLAIN_ROWS
        self.order = parents_first(tables)
        self.rows: dict[str, list[FilledRow]] = {}
        for name in self.order:
            self.rows[name] = [self.row(name, place) for place in range(self.count)]

    def row(self, name: str, place: int) -> FilledRow:
        table = self.tables[name]
        offset = OFFSET if table.row_count else 0
        found: FilledRow = {}
        single = unique_columns(table)
        for column in table.columns:
            # with a shared parent, planned rows are alike outside keys, so that they fall into one group
            alike = self.sharing != "none" and place < self.planned and not column.primary_key
            alike = alike and column.name.lower() not in single
            found[column.name.lower()] = usual_value(
                table, column, offset * column.primary_key + (0 if alike else place)
            )
        for number, key in enumerate(table.foreign_keys):
            found[key.column.lower()] = self.reference(name, key, self.parent(table, number, place))
        if place < self.planned:
            self.meet(name, place, found)
        return found

    def meet(self, name: str, place: int, found: FilledRow) -> None:
        """Apply the filters of one SELECT, and on the first row, which others share, those of all."""
        met: set[str] = {key.column.lower() for key in self.tables[name].foreign_keys}  # their parents decide
        rest = self.wanted.selects[1:] if place == 0 and self.sharing != "none" else []
        for select in [*self.wanted.selects[place % self.branches :][:1], *rest]:
            for (table, column), conditions in select.items():
                if table == name and column not in met:
                    found[column] = satisfying_value(conditions, found.get(column))
                    met.add(column)

    def parent(self, table: TableCard, number: int, place: int) -> int:
        shared = {"first": 0, "last": len(table.foreign_keys) - 1, "none": -1}[self.sharing]
        if place < self.planned:
            return 0 if number == shared else place
        # the last parents get no children
        return place % (self.count - CHILDLESS)

    def reference(self, name: str, key: ForeignKeyCard, place: int) -> Value:
        """The parent's value; NULL when it does not exist yet (self-references, cycles)."""
        rows = self.rows.get(key.to_table.lower())
        if rows is None or key.to_table.lower() == name:
            return None
        return rows[place].get(key.to_column.lower())


def pass_to_parents(tables: Mapping[str, TableCard], wanted: GoldConditions) -> GoldConditions:
    """Move the conditions on foreign keys to the keys they refer to: a parent decides its children's values."""
    selects = [dict(select) for select in wanted.selects]
    for name in reversed(parents_first(tables)):
        for key in tables[name].foreign_keys:
            for select in selects:
                conditions = select.get((name, key.column.lower()))
                if conditions and key.to_table.lower() != name:
                    select.setdefault((key.to_table.lower(), key.to_column.lower()), conditions)
    return GoldConditions(selects, wanted.rows)


def parents_first(tables: Mapping[str, TableCard]) -> list[str]:
    done: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        # `above` ends cycles
        if name in done or name in above or name not in tables:
            return
        for key in tables[name].foreign_keys:
            visit(key.to_table.lower(), above | {name})
        done[name] = None

    for name in tables:
        visit(name, frozenset())
    return list(done)


def insert_statement(table: TableCard, rows: list[FilledRow]) -> str:
    """One INSERT of all rows whose parents exist: SQLite may have skipped some of those."""
    names = ", ".join(quote_identifier(column.name) for column in table.columns)
    values = ", ".join(
        "(" + ", ".join(sql_literal(row[column.name.lower()]) for column in table.columns) + ")" for row in rows
    )
    places = {column.name.lower(): number for number, column in enumerate(table.columns, 1)}
    met = [
        f"(column{places[key.column.lower()]} IS NULL OR column{places[key.column.lower()]} IN "
        f"(SELECT {quote_identifier(key.to_column)} FROM {quote_identifier(key.to_table)}))"
        for key in table.foreign_keys
        if key.column.lower() in places
    ]
    head = f"INSERT OR IGNORE INTO {quote_identifier(table.name)} ({names})"
    return f"{head} SELECT * FROM (VALUES {values}) WHERE {' AND '.join(met)}" if met else f"{head} VALUES {values}"


def sql_literal(value: Value) -> str:
    if value is None:
        return "NULL"
    # SQL text cannot hold a NUL character
    return "'" + value.replace("'", "''").replace("\x00", "") + "'" if isinstance(value, str) else repr(value)
