"""How a query's ON conditions join its tables, for strict mode."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from shared.sql.spider.tree import NONE, ColumnUnit, Condition, ParsedSql

JoinClasses = tuple[frozenset[frozenset[str]], frozenset[tuple[str, str, str]]]


def join_classes(sql: ParsedSql) -> JoinClasses:
    """Columns that are equal by ON conditions, as classes; and the other comparisons of two columns.

    `a = b and b = c` joins as `a = b and a = c` does. Comparisons with values are left out, as values are everywhere.
    """
    classes: list[set[str]] = []
    others: set[tuple[str, str, str]] = set()
    for left, operator, right in compared_columns(sql.joins):
        if operator != "=":
            others.add((left, operator, right))
            continue
        touched = [one for one in classes if left in one or right in one]
        classes = [one for one in classes if one not in touched] + [{left, right}.union(*touched)]
    return frozenset(frozenset(one) for one in classes), frozenset(others)


def compared_columns(conditions: Iterable[Condition | str]) -> list[tuple[str, str, str]]:
    """(left, operator, right) of each comparison of one bare column with another."""
    return [
        (one.left.left.column, one.operator, one.low.column)
        for one in conditions
        if isinstance(one, Condition) and isinstance(one.low, ColumnUnit) and one.left.operator == NONE
    ]


def settled_by_joins(sql: ParsedSql, contested: Mapping[str, str]) -> dict[str, str]:
    """The part of `contested` (foreign key -> what it may stand for) that the query's ON conditions settle.

    A key is settled where it is joined with a column of another table, and none of its rivals is.
    """
    rivals: dict[tuple[str, str], set[str]] = defaultdict(set)
    for left, operator, right in compared_columns(sql.joins):
        for column, other in ((left, right), (right, left)):
            table = column.partition(".")[0]
            if operator == "=" and column in contested and table != other.partition(".")[0]:
                rivals[table, contested[column]].add(column)
    return {column: stands_for for (_, stands_for), names in rivals.items() if len(names) == 1 for column in names}
