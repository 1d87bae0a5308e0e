"""What a gold's filters want of the rows: read from its tree, select by select. In doubt a condition is left out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.sandbox.filling.values import Value, number
from shared.sql.parser import parse_one_sql

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
MOST_ROWS = 40


@dataclass
class Wants:
    """`selects`: by SELECT of the gold, conditions by table and column. `rows`: how many a group must have."""

    selects: list[dict[Key, list[Condition]]] = field(default_factory=list)
    rows: int = 1


def wants(gold: str, columns: Mapping[str, frozenset[str]]) -> Wants:
    """The wants of any text; none where it cannot be read. `columns` by table, all lower case."""
    try:
        tree = parse_one_sql(gold)
    except SqlglotError:
        return Wants()
    found = Wants()
    for select in tree.find_all(exp.Select):
        reader = SelectReader(select, columns)
        found.selects.append(reader.conditions())
        found.rows = max(found.rows, min(MOST_ROWS, reader.group_rows()))
    return found


class SelectReader:
    """One SELECT with its tables by alias."""

    def __init__(self, select: exp.Select, columns: Mapping[str, frozenset[str]]) -> None:
        self.select, self.columns = select, columns
        self.sources = {
            table.alias_or_name.lower(): table.name.lower()
            for table in select.find_all(exp.Table)
            if table.find_ancestor(exp.Select) is select and table.name.lower() in columns
        }

    def own(self) -> Iterator[exp.Expr]:
        """Nodes of this SELECT's conditions, without those of subqueries and without negated ones."""
        for node in self.select.walk(prune=lambda node: isinstance(node, exp.Query) and node is not self.select):
            if node.find_ancestor(exp.Not) is None and node.find_ancestor(exp.Case) is None:
                yield node

    def conditions(self) -> dict[Key, list[Condition]]:
        """Conditions that hold a column against literals."""
        found: dict[Key, list[Condition]] = defaultdict(list)
        for node in self.own():
            for key, condition in self.read(node):
                found[key].append(condition)
        return dict(found)

    def read(self, node: exp.Expr) -> Iterator[tuple[Key, Condition]]:
        """What one node wants."""
        sign = SIGNS.get(type(node))
        if sign is not None:
            for one, other, said in (
                (node.this, node.expression, sign),
                (node.expression, node.this, FLIPPED.get(sign)),
            ):
                key, value = self.column(one), self.literal(other)
                if key is not None and value is not None and said is not None:
                    yield key, (said, value)
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
        """Table and column that a node names; functions around it (LOWER, strftime) are looked through."""
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
        """The value of a literal; a name in double quotes that no table has is a text."""
        if isinstance(node, exp.Neg):
            value = self.literal(node.this)
            return -value if isinstance(value, int | float) else None
        if isinstance(node, exp.Column) and not node.table and self.column(node) is None:
            return str(node.name)
        if not isinstance(node, exp.Literal):
            return None
        return str(node.this) if node.is_string else number(str(node.this))

    def group_rows(self) -> int:
        """How many rows a group must have for HAVING COUNT."""
        having = self.select.args.get("having")
        most = 1
        for node in having.find_all(exp.GT, exp.GTE, exp.EQ) if having is not None else ():
            value = self.literal(node.expression)
            if isinstance(node.this, exp.Count) and isinstance(value, int):
                most = max(most, value + isinstance(node, exp.GT))
        return most


def satisfying(conditions: list[Condition], usual: Value) -> Value:
    """A value for which the conditions hold, as many from the first on as can; the usual one where it does."""
    candidates = [usual, *(one for condition in conditions for one in near(condition))]
    fulfilled = [[holds(condition, candidate) for condition in conditions] for candidate in candidates]
    best = max(range(len(candidates)), key=lambda place: (sum(fulfilled[place]), fulfilled[place][:1], -place))
    return candidates[best]


def near(condition: Condition) -> list[Value]:
    """The literal itself, and values on both sides of it."""
    sign, value = condition
    if sign == "like" and isinstance(value, str):
        return [value.replace("%", "").replace("_", "a") or "a"]
    if isinstance(value, int | float):
        return [value, value + 1, value - 1, value + 0.5]
    if isinstance(value, str) and sign in (">", "<", ">=", "<="):
        return [value, value + "a", beside(value, 1), beside(value, -1)]
    return [value]


def beside(text: str, step: int) -> str:
    """A text of the same form just after or before: the last digit or letter that can be, moved."""
    for place in range(len(text) - 1, -1, -1):
        moved = chr(ord(text[place]) + step)
        if (text[place].isdigit() and moved.isdigit()) or (text[place].isalpha() and moved.isalpha()):
            return text[:place] + moved + text[place + 1 :]
    return text


def holds(condition: Condition, value: Value) -> bool:
    """Whether a value fulfils a condition, numbers and texts each among themselves."""
    sign, literal = condition
    if sign == "null" or value is None:
        return sign == "null" and value is None
    if sign == "like":
        return isinstance(literal, str) and literal.strip("%_").lower() in str(value).lower()
    if isinstance(value, str) != isinstance(literal, str):
        return sign == "!="
    one, other = (value, literal) if isinstance(value, str) else (float(value), float(literal or 0))
    return compared(sign, one, other)


def compared(sign: str, one: object, other: object) -> bool:
    """A comparison by its sign; both sides are of one kind."""
    if sign in ("=", "!="):
        return (one == other) is (sign == "=")
    smaller = bool(one < other)  # type: ignore[operator]
    if sign in (">=", "<"):
        return smaller is (sign == "<")
    return bool(one > other) is (sign == ">")  # type: ignore[operator]
