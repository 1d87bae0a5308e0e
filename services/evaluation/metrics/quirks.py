"""What the official evaluators get wrong, by name."""

from enum import StrEnum
from typing import Literal

# official: as the public evaluators score, quirks included. strict: without the quirks that have a name.
Mode = Literal["official", "strict"]


class Fix(StrEnum):
    """A change to the official rules of exact match; strict mode makes all of them."""

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
    return ALL_FIXES if mode == "strict" else NO_FIXES


QUIRKS = {
    "value_replaced": "the official code puts 1 for every 'value' in a prediction",
    "operators_joined": "the official code joins '> =' to '>='",
    "distinct_removed": "the official code takes every DISTINCT out of both",
    "later_statements_dropped": "the official code drops what follows the first semicolon",
    "year_replaced": "the official code puts 2020 for YEAR(CURDATE())",
    "order_by_text": "the official code takes any 'order by' in the gold's text for its order, and misses others",
    "order_ignored": "the official code ignores the order of rows",
    "duplicates_ignored": "the official code ignores how often a row stands",
    "quoted_name": "a name in double quotes is no column and was read as a string",
    "slow_together": "gold and prediction together take more than the official 30 s",
    "comparison": "cells or column orders are compared by other rules",
    "value_text": "the official code puts 1 for every 'value' in a prediction",
    "foreign_keys": "the official code takes two foreign keys to one column for the same column",
    "order_directions": "the official code keeps one direction for all columns of ORDER BY",
    "limit_value": "the official code takes any LIMIT for any other",
    "join_conditions": "the official code does not compare ON conditions",
    "subqueries": "the official code compares subqueries without uniting their columns",
    "several_together": "several faults of the official code together",
}
