"""Makes parsed SQL comparable: drops values and DISTINCT, gives columns united by a foreign key one name.

Source: rebuild_sql_val and rebuild_sql_col of the official evaluation.py, with their limits.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from services.evaluation.metrics.quirks import Fix
from shared.sql.spider.schema import SpiderSchema
from shared.sql.spider.tree import (
    NONE,
    ColumnUnit,
    Condition,
    Conditions,
    OrderBy,
    ParsedSql,
    SelectItem,
    TableUnit,
    Value,
    ValueUnit,
)

JoinClasses = tuple[frozenset[frozenset[str]], frozenset[tuple[str, str, str]]]


def join_classes(sql: ParsedSql) -> JoinClasses:
    """Columns that ON conditions make equal, as classes, and the other comparisons of two columns.

    `a = b and b = c` joins as `a = b and a = c` does. Comparisons with values are left out, as values are everywhere.
    """
    classes: list[set[str]] = []
    others: set[tuple[str, str, str]] = set()
    for left, operator, right in compared_columns(sql.joins):
        if operator != "=":
            others.add((left, operator, right))
            continue
        # An equality merges all classes that it touches.
        touched = [one for one in classes if left in one or right in one]
        classes = [one for one in classes if one not in touched] + [{left, right}.union(*touched)]
    return frozenset(frozenset(one) for one in classes), frozenset(others)


def compared_columns(conditions: Iterable[Condition | str]) -> list[tuple[str, str, str]]:
    """(left, operator, right) of each comparison of two bare columns."""
    return [
        (one.left.left.column, one.operator, one.low.column)
        for one in conditions
        if isinstance(one, Condition) and isinstance(one.low, ColumnUnit) and one.left.operator == NONE
    ]


def settled_by_joins(sql: ParsedSql, contested: Mapping[str, str]) -> dict[str, str]:
    """The part of `contested` (foreign key -> what it may stand for) that the ON conditions settle.

    A key is settled where it is joined with a column of another table, and none of its rivals is.
    """
    rivals: dict[tuple[str, str], set[str]] = defaultdict(set)
    for left, operator, right in compared_columns(sql.joins):
        for column, other in ((left, right), (right, left)):
            table = column.partition(".")[0]
            if operator == "=" and column in contested and table != other.partition(".")[0]:
                rivals[table, contested[column]].add(column)
    return {column: stands_for for (_, stands_for), names in rivals.items() if len(names) == 1 for column in names}


def canonical(sql: ParsedSql, schema: SpiderSchema, fixes: Set[Fix] = frozenset()) -> ParsedSql:
    """Raises ValueError where the official evaluator stops on conditions without connectors."""
    return Canonicalizer(schema, fixes, {}, frozenset()).outer(sql)


def table_names(sql: ParsedSql) -> frozenset[str]:
    return frozenset(unit.what for unit in sql.tables if isinstance(unit.what, str))


class Canonicalizer:
    """Renames columns of the tables in `scope`."""

    __slots__ = ("fixes", "schema", "scope", "united")

    def __init__(self, schema: SpiderSchema, fixes: Set[Fix], united: Mapping[str, str], scope: frozenset[str]) -> None:
        self.schema = schema
        self.fixes = fixes
        self.united = united
        self.scope = scope

    def outer(self, sql: ParsedSql) -> ParsedSql:
        united: Mapping[str, str] = self.schema.united
        if Fix.FOREIGN_KEYS in self.fixes:
            # Two keys of a table to one column stay apart unless the joins say which of them is meant.
            united = self.schema.united_apart | settled_by_joins(sql, self.schema.contested)
        return Canonicalizer(self.schema, self.fixes, united, table_names(sql)).query(sql)

    def query(self, sql: ParsedSql) -> ParsedSql:
        order = sql.order_by
        intersect, except_, union = map(self.operand, sql.operands())
        return ParsedSql(
            select=tuple([SelectItem(item.aggregate, self.value_unit(item.value)) for item in sql.select]),
            distinct=None,
            tables=self.tables(sql.tables),
            joins=self.conditions(sql.joins),
            where=self.conditions(sql.where),
            group_by=tuple(map(self.column_unit, sql.group_by)),
            having=self.conditions(sql.having),
            order_by=None if order is None else self.order(order, sql.directions),
            limit=sql.limit_text if Fix.LIMIT_VALUE in self.fixes else sql.limit,
            intersect=intersect,
            union=union,
            except_=except_,
        )

    def operand(self, sql: ParsedSql | None) -> ParsedSql | None:
        """One side of a set operation; officially in the scope of the outer query."""
        if sql is None:
            return None
        return self.outer(sql) if Fix.SUBQUERIES in self.fixes else self.query(sql)

    def tables(self, units: tuple[TableUnit, ...]) -> tuple[TableUnit, ...]:
        """Officially, tables and subqueries in FROM stay as they are, values included."""
        if Fix.SUBQUERIES not in self.fixes:
            return units
        return tuple(
            unit if isinstance(unit.what, str) else unit._replace(what=self.outer(unit.what)) for unit in units
        )

    def order(self, order: OrderBy, directions: tuple[str, ...]) -> OrderBy:
        """Officially one direction, with the fix that of each column."""
        direction = " ".join(directions) if Fix.ORDER_DIRECTIONS in self.fixes else order.direction
        return OrderBy(direction, tuple(map(self.value_unit, order.values)))

    def column_unit(self, unit: ColumnUnit) -> ColumnUnit:
        column = unit.column
        if column in self.united and column.partition(".")[0] in self.scope:
            column = self.united[column]
        return ColumnUnit(unit.aggregate, column, None)

    def value_unit(self, unit: ValueUnit) -> ValueUnit:
        right = None if unit.right is None else self.column_unit(unit.right)
        return ValueUnit(unit.operator, self.column_unit(unit.left), right)

    def conditions(self, conditions: Conditions) -> Conditions:
        if not conditions:
            return conditions
        found = list(conditions)
        for place in range(0, len(found), 2):
            one = found[place]
            if isinstance(one, str):
                raise ValueError("a connector stands where a condition has to; the official code stops here")
            found[place] = Condition(
                one.negated, one.operator, self.value_unit(one.left), self.value(one.low), self.value(one.high)
            )
        return tuple(found)

    def value(self, value: Value) -> ParsedSql | None:
        """A subquery without its values; None for anything else. Officially its columns and DISTINCTs stay."""
        if not isinstance(value, ParsedSql):
            return None
        return self.outer(value) if Fix.SUBQUERIES in self.fixes else self.inner(value)

    def inner(self, sql: ParsedSql | None) -> ParsedSql | None:
        if sql is None:
            return None
        intersect, except_, union = map(self.inner, sql.operands())
        order = sql.order_by
        if order is not None and Fix.ORDER_DIRECTIONS in self.fixes:
            order = order._replace(direction=" ".join(sql.directions))
        return replace(
            sql,
            joins=self.without_values(sql.joins),
            where=self.without_values(sql.where),
            having=self.without_values(sql.having),
            order_by=order,
            limit=sql.limit_text if Fix.LIMIT_VALUE in self.fixes else sql.limit,
            intersect=intersect,
            union=union,
            except_=except_,
        )

    def without_values(self, conditions: Conditions) -> Conditions:
        found = list(conditions)
        for place in range(0, len(found), 2):
            one = found[place]
            if isinstance(one, str):
                raise ValueError("a connector stands where a condition has to; the official code stops here")
            found[place] = one._replace(low=self.value(one.low), high=self.value(one.high))
        return tuple(found)
