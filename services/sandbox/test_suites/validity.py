"""Whether test-suite databases can count for a gold: its result must follow from the rows, on any rows.

Three parts: columns that a grouped query takes from any row of a group, probes that show what ORDER BY and LIMIT leave
open, and faults that the text alone shows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import SqlglotError

from shared.sql.parser import parse_sql
from shared.sql.tokens import tokens

PrimaryKeys = Mapping[str, frozenset[str]]
Name = tuple[str, str]  # table alias or "", column; lower case

# Aggregates also where sqlglot has no class for them.
AGGREGATES = frozenset({"total", "group_concat", "string_agg", "json_group_array", "json_group_object", "median"})


def scope_walk(node: exp.Expr) -> Iterator[exp.Expr]:
    yield node
    for child in node.iter_expressions():
        if not isinstance(child, exp.Query):
            yield from scope_walk(child)


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a node aggregates; `min` and `max` of several arguments and window functions do not."""
    if isinstance(node.parent, exp.Window):
        return False
    if isinstance(node, exp.Max | exp.Min):
        return not node.expressions
    known = isinstance(node, exp.Anonymous) and str(node.this).lower() in AGGREGATES
    return known or isinstance(node, exp.AggFunc)


def clauses(select: exp.Select) -> list[exp.Expr]:
    parts = [select.args.get("having"), select.args.get("order")]
    return [*select.expressions, *(part for part in parts if part is not None)]


def own_aggregates(select: exp.Select) -> bool:
    return any(is_aggregate(node) for clause in clauses(select) for node in scope_walk(clause))


def outside_aggregates(node: exp.Expr, grouped: frozenset[str]) -> Iterator[exp.Expr]:
    """Columns and stars outside aggregates, subqueries and whole expressions that are grouped by."""
    if is_aggregate(node) or normalised_sql(node) in grouped:
        return
    if isinstance(node, exp.Column | exp.Star):
        yield node
        return
    for child in node.iter_expressions():
        if isinstance(child, exp.Query):
            yield from outer_references(child)
        else:
            yield from outside_aggregates(child, grouped)


def outer_references(query: exp.Query) -> Iterator[exp.Expr]:
    """Columns in a subquery that belong to none of its tables, as far as their qualifier tells."""
    own = {table.alias_or_name.lower() for table in query.find_all(exp.Table, exp.Subquery)}
    for column in query.find_all(exp.Column):
        if column.table and column.table.lower() not in own:
            yield column


def normalised_sql(node: exp.Expr) -> str:
    return str(node.sql(dialect="sqlite")).lower().replace('"', "").replace("`", "")


def has_bare_column(select: exp.Select, keys: PrimaryKeys) -> bool:
    group = select.args.get("group")
    # without groups only DISTINCT folds rows
    if group is None and not own_aggregates(select):
        return bool(select.args.get("distinct")) and sorts_by_hidden(select)
    terms = [resolved(select, term) for term in (group.expressions if group is not None else [])]
    settled = SettledColumns(select, keys, [term for term in terms if isinstance(term, exp.Column)])
    grouped = frozenset(normalised_sql(term) for term in terms)
    aliases = {e.alias.lower() for e in select.expressions if isinstance(e, exp.Alias)}
    for clause in clauses(select):
        in_result = clause in select.expressions
        for column in outside_aggregates(clause, grouped):
            if not in_result and isinstance(column, exp.Column) and not column.table and column.name.lower() in aliases:
                continue
            if not settled.has(column):
                return True
    return False


def sorts_by_hidden(select: exp.Select) -> bool:
    order = select.args.get("order")
    shown = {normalised_sql(e.unalias()) for e in select.expressions} | {
        e.alias_or_name.lower() for e in select.expressions
    }
    hidden = outside_aggregates(order, frozenset(shown)) if order is not None else iter(())
    return not any(isinstance(e, exp.Star) for e in select.expressions) and next(hidden, None) is not None


def resolved(select: exp.Select, term: exp.Expr) -> exp.Expr:
    """A term of GROUP BY, or the result column that it means by number or alias."""
    if isinstance(term, exp.Literal) and not term.is_string and term.this.isdigit():
        place = int(term.this) - 1
        return select.expressions[place].unalias() if place < len(select.expressions) else term
    if isinstance(term, exp.Column) and not term.table:
        named = [
            e.this for e in select.expressions if isinstance(e, exp.Alias) and e.alias.lower() == term.name.lower()
        ]
        return named[0] if named else term
    return term


def determined_result(select: exp.Select, keys: PrimaryKeys) -> bool:
    settled = SettledColumns(select, keys, [])
    columns = [c for e in select.expressions for c in outside_aggregates(e, frozenset())]
    return bool(columns) and select.args.get("group") is None and all(map(settled.has, columns))


class SettledColumns:
    """Columns that are the same in all rows of a group.

    These are the given ones, constants, columns equal to them, and all columns of a table whose primary key is among
    them.
    """

    def __init__(self, select: exp.Select, keys: PrimaryKeys, given: list[exp.Column]) -> None:
        self.tables = dict(sources(select))
        self.names = {column_name(column, self.tables) for column in given}
        self.whole: set[str] = set()
        self.conditions = list(equalities(select))
        size = -1
        # one settled column may settle another, so repeat until nothing is added
        while size != len(self.names) + len(self.whole):
            size = len(self.names) + len(self.whole)
            self.grow(keys)

    def grow(self, keys: PrimaryKeys) -> None:
        for left, right in self.conditions:
            for one, other in ((left, right), (right, left)):
                if isinstance(one, exp.Column) and self.constant(other):
                    self.names.add(column_name(one, self.tables))
        for alias, table in self.tables.items():
            key = keys.get(table)
            if key and all(self.known((alias, column)) for column in key):
                self.whole.add(alias)

    def constant(self, node: exp.Expr) -> bool:
        if not isinstance(node, exp.Column):
            return True
        return bool(node.table and node.table.lower() not in self.tables) or self.has(node)

    def known(self, name: Name) -> bool:
        """Whether a column is settled; one without a table means the only one of its name."""
        alias, column = name
        if name in self.names or alias in self.whole or ("", column) in self.names:
            return True
        return not alias and any(column == other for _, other in self.names)

    def has(self, node: exp.Expr) -> bool:
        everything = bool(self.tables) and self.whole >= set(self.tables)
        if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
            table = node.table.lower() if isinstance(node, exp.Column) else ""
            return everything or table in self.whole
        return everything or (isinstance(node, exp.Column) and self.known(column_name(node, self.tables)))


def column_name(column: exp.Column, tables: Mapping[str, str]) -> Name:
    """Without a qualifier a column belongs to the only table there is."""
    alias = column.table.lower() or (next(iter(tables)) if len(tables) == 1 else "")
    return alias, column.name.lower()


def sources(select: exp.Select) -> Iterator[tuple[str, str]]:
    """Yield (alias, table) of FROM and JOIN; the table of a subquery is empty."""
    start = select.args.get("from_") or select.args.get("from")
    nodes = [start.this] if start is not None else []
    for node in [*nodes, *(join.this for join in select.args.get("joins") or [])]:
        yield node.alias_or_name.lower(), node.name.lower() if isinstance(node, exp.Table) else ""


def equalities(select: exp.Select) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    """Equalities that hold in every row: in WHERE and in inner joins."""
    conditions = [select.args["where"].this] if select.args.get("where") is not None else []
    joins = select.args.get("joins") or []
    # the condition of an outer join does not hold in rows that it fills with NULL
    if not any(join.side for join in joins):
        conditions += [join.args["on"] for join in joins if join.args.get("on") is not None]
    for condition in conditions:
        for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
            inner = part.unnest()
            if isinstance(inner, exp.EQ) and all(
                isinstance(s, exp.Column | exp.Literal) for s in (inner.this, inner.expression)
            ):
                yield inner.this, inner.expression


@dataclass(frozen=True)
class Outline:
    """Offsets outside all parentheses, None if the clause is absent.

    `end` is behind the last token that counts. `sound` is False if terms cannot be inserted safely into a text of this
    form.
    """

    order: int | None
    limit: int | None
    end: int
    sound: bool


def outline(sql: str) -> Outline:
    """LIMIT and ORDER BY are reserved words in SQLite, so outside quotes they are nothing else."""
    depth = lowest = offset = end = limits = orders = 0
    order: int | None = None
    limit: int | None = None
    previous, ended, late = "", False, False
    for kind, text in tokens(sql):
        start, offset = offset, offset + len(text)
        if kind in ("blank", "comment"):
            continue
        if text == ";":
            ended = True
            continue
        late = late or ended
        depth += {"(": 1, ")": -1}.get(text, 0)
        lowest, end = min(lowest, depth), offset
        word = text.lower() if kind == "word" and depth == 0 else ""
        if word == "limit":
            limit, limits = start, limits + 1
        elif word == "by" and previous == "order":
            order, orders = start, orders + 1
        previous = word
    tidy = limits <= 1 and orders <= 1 and not (limit is not None and order is not None and order > limit)
    return Outline(order, limit, end, tidy and depth == 0 and lowest == 0 and not late)


def insert_order_terms(sql: str, found: Outline, place: int, width: int) -> tuple[str, str]:
    """The text twice, with all result columns as last terms of its order, ascending and descending.

    The line breaks keep a comment before `place` from swallowing what is inserted.
    """
    lead = "\n, " if found.order is not None else "\nORDER BY "
    rising, falling = (", ".join(f"{n} {way}" for n in range(1, width + 1)) for way in ("ASC", "DESC"))
    return f"{sql[:place]}{lead}{rising}\n{sql[place:]}", f"{sql[:place]}{lead}{falling}\n{sql[place:]}"


def tie_probes(gold: str, width: int) -> tuple[str, str] | None:
    """Two SQL whose results differ as bags exactly if the outermost LIMIT cuts through a tie that matters.

    `width` is the number of result columns. None if there is no LIMIT or no safe place for the terms (`static_fault`
    gives a reason then).
    """
    found = outline(gold)
    if found.limit is None or not found.sound or width < 1:
        return None
    return insert_order_terms(gold, found, found.limit, width)


def order_probes(gold: str, width: int) -> tuple[str, str] | None:
    """Two SQL whose results differ as lists exactly if ORDER BY leaves the order of different rows open.

    None if there is no ORDER BY or no safe place for the terms.
    """
    found = outline(gold)
    if found.order is None or not found.sound or width < 1:
        return None
    return insert_order_terms(gold, found, found.end if found.limit is None else found.limit, width)


CLOCKS = (exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp)
CHANCE = frozenset({"random", "randomblob", "last_insert_rowid", "changes", "total_changes"})
# These read the clock when they get no more arguments than this.
DATES = {"date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "strftime": 1}
# Their result depends on the order of the rows that they join.
JOINING = frozenset({"group_concat", "string_agg", "json_group_array", "json_group_object"})
# They give the same value to rows that tie.
TIED_WINDOWS = (exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist)
TIED_NAMES = frozenset({"rank", "dense_rank", "percent_rank", "cume_dist"})


def static_fault(gold: str, keys: PrimaryKeys | None = None) -> str | None:
    """Why no test-suite database counts for this gold, or None: one word, from the text alone.

    `unreadable`, `nondeterministic`, `bare_column`, `inner_limit`, `scalar_subquery` (more than one row may come and
    SQLite takes the first), `window_order`, `aggregate_order`, `limit` (no safe place for tie probes). `keys` maps
    tables to their primary keys' columns, all lower case. In doubt there is a fault.
    """
    tree = parse_gold(gold)
    if tree is None:
        return "unreadable"
    found = outline(gold)
    limit, order = tree.args.get("limit") is not None, tree.args.get("order") is not None
    if not found.sound or (found.limit is not None) != limit or (found.order is not None) != order:
        return "limit"  # the scan of the text and the tree see different clauses
    if any(kind == "word" and text.lower() in JOINING for kind, text in tokens(gold)):
        return "aggregate_order"
    return next(faults(tree, keys or {}), None)


def parse_gold(gold: str) -> exp.Query | None:
    try:
        trees = parse_sql(gold)
    except SqlglotError:
        return None
    statements = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    tree = statements[0] if len(statements) == 1 else None
    return tree if isinstance(tree, exp.Select | exp.SetOperation) else None


def faults(tree: exp.Query, keys: PrimaryKeys) -> Iterator[str]:
    for node in tree.walk():
        if reads_clock(node):
            yield "nondeterministic"
        if isinstance(node, exp.Window) and not is_deterministic_window(node):
            yield "window_order"
    for select in tree.find_all(exp.Select):
        if has_bare_column(select, keys):
            yield "bare_column"
    for query in tree.find_all(exp.Select, exp.SetOperation):
        if query is not tree and not within_exists(query) and not single_row(query, keys):
            if query.args.get("limit") is not None or query.args.get("offset") is not None:
                yield "inner_limit"
            if is_scalar(query):
                yield "scalar_subquery"


def function_name(node: exp.Expr) -> str:
    return str(node.this).lower() if isinstance(node, exp.Anonymous) else ""


def reads_clock(node: exp.Expr) -> bool:
    if isinstance(node, CLOCKS) or function_name(node) in CHANCE or isinstance(node, exp.Rand):
        return True
    if isinstance(node, exp.Literal):
        return bool(node.is_string) and str(node.this).strip().lower() in ("now", "localtime")
    if isinstance(node, exp.Column) and not node.table:
        return str(node.name).lower() in ("now", "current_date", "current_time", "current_timestamp")
    if not isinstance(node, exp.Func):
        return False
    name = function_name(node) or node.sql_name().lower()
    if isinstance(node, exp.TimeToStr | exp.StrToTime):
        return False
    return name in DATES and len(list(node.iter_expressions())) <= DATES[name]


def is_deterministic_window(window: exp.Window) -> bool:
    function = window.this
    if isinstance(function, TIED_WINDOWS) or function_name(function) in TIED_NAMES:
        return True
    frame = window.args.get("spec")
    by_rows = frame is not None and str(frame.args.get("kind", "")).upper() != "RANGE"
    return isinstance(function, exp.Count | exp.Sum | exp.Avg | exp.Min | exp.Max) and not by_rows


def within_exists(query: exp.Query) -> bool:
    parent = query.parent
    while isinstance(parent, exp.Paren | exp.Subquery):
        parent = parent.parent
    return isinstance(parent, exp.Exists)


def is_scalar(query: exp.Query) -> bool:
    """Whether a subquery stands where one value is meant, so that SQLite takes its first row."""
    parent = query.parent
    if isinstance(parent, exp.SetOperation | exp.CTE | exp.In | exp.Exists):
        return False
    if not isinstance(parent, exp.Subquery):
        return True
    node: exp.Expr = parent
    while isinstance(node.parent, exp.Subquery | exp.Paren):
        node = node.parent
    if isinstance(node.parent, exp.In):
        return node.arg_key == "this"
    return not isinstance(node.parent, exp.From | exp.Join | exp.CTE | exp.SetOperation | exp.Exists)


def single_row(query: exp.Query, keys: PrimaryKeys) -> bool:
    if not isinstance(query, exp.Select):
        return False
    if query.args.get("group") is None and own_aggregates(query):
        return True
    return determined_result(query, keys)
