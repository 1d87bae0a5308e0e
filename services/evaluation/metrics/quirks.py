"""Whose rules count."""

from enum import StrEnum
from typing import Literal

# official: as the public evaluators score, their faults included. strict: without the faults that have a name.
Mode = Literal["official", "strict"]


class Fix(StrEnum):
    """A change against the official rule."""

    # The prediction's every "value" becomes "1" before it is read.
    VALUE_TEXT = "value_text"
    # Two foreign keys of a table to one column are taken for the same column (issue 7).
    FOREIGN_KEYS = "foreign_keys"
    # ORDER BY keeps one direction for all its columns.
    ORDER_DIRECTIONS = "order_directions"
    # Any LIMIT equals any other.
    LIMIT_VALUE = "limit_value"
    # ON conditions are not compared.
    JOIN_CONDITIONS = "join_conditions"
    # Subqueries in FROM and in conditions keep their columns (in FROM their values too), so equal ones differ; the
    # operands of set operations are judged by the outer query's tables.
    SUBQUERIES = "subqueries"


NO_FIXES: frozenset[Fix] = frozenset()
ALL_FIXES: frozenset[Fix] = frozenset(Fix)


def fixes_of(mode: Mode) -> frozenset[Fix]:
    """None for official, all for strict."""
    return ALL_FIXES if mode == "strict" else NO_FIXES
