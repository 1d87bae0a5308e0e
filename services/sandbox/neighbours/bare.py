"""Columns that a grouped query takes from any row of a group: which columns does the group settle?"""

from collections.abc import Iterator, Mapping

from sqlglot import exp

Keys = Mapping[str, frozenset[str]]
Name = tuple[str, str]  # table alias or "", column; lower case

AGGREGATES = frozenset({"total", "group_concat", "string_agg", "json_group_array", "json_group_object", "median"})


def scope_walk(node: exp.Expr) -> Iterator[exp.Expr]:
    """The nodes of a clause, without those of subqueries in it."""
    yield node
    for child in node.iter_expressions():
        if not isinstance(child, exp.Query):
            yield from scope_walk(child)


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a node folds a group's rows; `min` and `max` of several arguments do not, nor does a window function."""
    if isinstance(node.parent, exp.Window):
        return False
    if isinstance(node, exp.Max | exp.Min):
        return not node.expressions
    known = isinstance(node, exp.Anonymous) and str(node.this).lower() in AGGREGATES
    return known or isinstance(node, exp.AggFunc)


def clauses(select: exp.Select) -> list[exp.Expr]:
    """What is evaluated once a group: result columns, HAVING, ORDER BY."""
    parts = [select.args.get("having"), select.args.get("order")]
    return [*select.expressions, *(part for part in parts if part is not None)]


def own_aggregates(select: exp.Select) -> bool:
    """Whether the query itself folds rows."""
    return any(is_aggregate(node) for clause in clauses(select) for node in scope_walk(clause))


def outside_aggregates(node: exp.Expr, grouped: frozenset[str]) -> Iterator[exp.Expr]:
    """Columns and stars that stand outside aggregates, subqueries and whole expressions that are grouped by."""
    if is_aggregate(node) or plain(node) in grouped:
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
    """Columns in a subquery that belong to no table of its own, as far as their qualifier tells."""
    own = {table.alias_or_name.lower() for table in query.find_all(exp.Table, exp.Subquery)}
    for column in query.find_all(exp.Column):
        if column.table and column.table.lower() not in own:
            yield column


def plain(node: exp.Expr) -> str:
    """An expression as text, to compare; quotes and case of names do not count."""
    return str(node.sql(dialect="sqlite")).lower().replace('"', "").replace("`", "")


def bare_column(select: exp.Select, keys: Keys) -> bool:
    """Whether a query that folds rows shows, filters or sorts by a column that its groups do not settle."""
    group = select.args.get("group")
    if group is None and not own_aggregates(select):
        return bool(select.args.get("distinct")) and sorts_by_hidden(select)
    terms = [resolved(select, term) for term in (group.expressions if group is not None else [])]
    settled = Settled(select, keys, [term for term in terms if isinstance(term, exp.Column)])
    grouped = frozenset(plain(term) for term in terms)
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
    """Whether rows that DISTINCT folds are sorted by what may differ between them."""
    order = select.args.get("order")
    shown = {plain(e.unalias()) for e in select.expressions} | {e.alias_or_name.lower() for e in select.expressions}
    hidden = outside_aggregates(order, frozenset(shown)) if order is not None else iter(())
    return not any(isinstance(e, exp.Star) for e in select.expressions) and next(hidden, None) is not None


def resolved(select: exp.Select, term: exp.Expr) -> exp.Expr:
    """A term of GROUP BY; the result column that it means by number or alias."""
    if isinstance(term, exp.Literal) and not term.is_string and term.this.isdigit():
        place = int(term.this) - 1
        return select.expressions[place].unalias() if place < len(select.expressions) else term
    if isinstance(term, exp.Column) and not term.table:
        named = [
            e.this for e in select.expressions if isinstance(e, exp.Alias) and e.alias.lower() == term.name.lower()
        ]
        return named[0] if named else term
    return term


def determined_result(select: exp.Select, keys: Keys) -> bool:
    """Whether constants in WHERE settle every result column: then all rows of the result are the same."""
    settled = Settled(select, keys, [])
    columns = [c for e in select.expressions for c in outside_aggregates(e, frozenset())]
    return bool(columns) and select.args.get("group") is None and all(map(settled.has, columns))


class Settled:
    """Columns that are the same in all rows of a group: given ones, constants, equals of these, and whole rows whose
    primary key is among them.
    """

    def __init__(self, select: exp.Select, keys: Keys, given: list[exp.Column]) -> None:
        self.tables = dict(sources(select))
        self.names = {name_of(column, self.tables) for column in given}
        self.whole: set[str] = set()
        self.conditions = list(equalities(select))
        size = -1
        while size != len(self.names) + len(self.whole):
            size = len(self.names) + len(self.whole)
            self.grow(keys)

    def grow(self, keys: Keys) -> None:
        """One round of consequences."""
        for left, right in self.conditions:
            for one, other in ((left, right), (right, left)):
                if isinstance(one, exp.Column) and self.constant(other):
                    self.names.add(name_of(one, self.tables))
        for alias, table in self.tables.items():
            key = keys.get(table)
            if key and all(self.known((alias, column)) for column in key):
                self.whole.add(alias)

    def constant(self, node: exp.Expr) -> bool:
        """Whether one side of an equality is the same in all rows: no column, a settled one, one of an outer query."""
        if not isinstance(node, exp.Column):
            return True
        return bool(node.table and node.table.lower() not in self.tables) or self.has(node)

    def known(self, name: Name) -> bool:
        """Whether a column is settled; one without a table is the same as the only one of its name."""
        alias, column = name
        if name in self.names or alias in self.whole or ("", column) in self.names:
            return True
        return not alias and any(column == other for _, other in self.names)

    def has(self, node: exp.Expr) -> bool:
        """Whether a column, or every column of a star, is settled."""
        everything = bool(self.tables) and self.whole >= set(self.tables)
        if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
            table = node.table.lower() if isinstance(node, exp.Column) else ""
            return everything or table in self.whole
        return everything or (isinstance(node, exp.Column) and self.known(name_of(node, self.tables)))


def name_of(column: exp.Column, tables: Mapping[str, str]) -> Name:
    """A column's name; without a qualifier it belongs to the only table there is."""
    alias = column.table.lower() or (next(iter(tables)) if len(tables) == 1 else "")
    return alias, column.name.lower()


def sources(select: exp.Select) -> Iterator[tuple[str, str]]:
    """(alias, table) of FROM and JOIN; a subquery's table is empty."""
    start = select.args.get("from_") or select.args.get("from")
    nodes = [start.this] if start is not None else []
    for node in [*nodes, *(join.this for join in select.args.get("joins") or [])]:
        yield node.alias_or_name.lower(), node.name.lower() if isinstance(node, exp.Table) else ""


def equalities(select: exp.Select) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    """Equalities of columns with columns or constants that hold in every row: in WHERE and in inner joins."""
    conditions = [select.args["where"].this] if select.args.get("where") is not None else []
    joins = select.args.get("joins") or []
    if not any(join.side for join in joins):
        conditions += [join.args["on"] for join in joins if join.args.get("on") is not None]
    for condition in conditions:
        for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
            inner = part.unnest()
            if isinstance(inner, exp.EQ) and all(
                isinstance(s, exp.Column | exp.Literal) for s in (inner.this, inner.expression)
            ):
                yield inner.this, inner.expression
