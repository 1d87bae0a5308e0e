"""What the official Spider grammar makes of a SQL text: a tree, or a named reason why it cannot read it.

Two trees are equal if the official dictionaries are.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

NONE = "none"


class ColumnUnit(NamedTuple):
    """`count(distinct t.c)`; without an aggregate it is "none"; `distinct` is None once it is not compared."""

    aggregate: str
    column: str
    distinct: bool | None


class ValueUnit(NamedTuple):
    """One column, or two with an operator between."""

    operator: str
    left: ColumnUnit
    right: ColumnUnit | None


class SelectItem(NamedTuple):
    """One item of SELECT; an aggregate before a bracket stands here, not in the column."""

    aggregate: str
    value: ValueUnit


class Condition(NamedTuple):
    """`left operator low`, or `left between low and high`."""

    negated: bool
    operator: str
    left: ValueUnit
    low: "Value"
    high: "Value"


class TableUnit(NamedTuple):
    """A table's name, or a subquery in FROM."""

    kind: str
    what: "str | ParsedSql"


class OrderBy(NamedTuple):
    """The ordered values and one direction: officially the last one written, else asc."""

    direction: str
    values: tuple[ValueUnit, ...]


# Conditions at even places, "and" or "or" between them. Two conditions without a connector keep that odd shape, as
# officially.
Conditions: TypeAlias = tuple[Condition | str, ...]


@dataclass(frozen=True, slots=True)
class ParsedSql:
    """One SELECT with its set operation. As officially, `limit` is 1 for any LIMIT.

    `directions` (one per value) and `limit_text` hold what the official tree forgets; equality ignores them.
    """

    select: tuple[SelectItem, ...] = ()
    distinct: bool | None = False
    tables: tuple[TableUnit, ...] = ()
    joins: Conditions = ()
    where: Conditions = ()
    group_by: tuple[ColumnUnit, ...] = ()
    having: Conditions = ()
    order_by: OrderBy | None = None
    limit: int | str | None = None
    intersect: "ParsedSql | None" = None
    union: "ParsedSql | None" = None
    except_: "ParsedSql | None" = None
    directions: tuple[str, ...] = field(default=(), compare=False)
    limit_text: str | None = field(default=None, compare=False)

    def operands(self) -> "tuple[ParsedSql | None, ParsedSql | None, ParsedSql | None]":
        """INTERSECT, EXCEPT, UNION: the order of the official code."""
        return self.intersect, self.except_, self.union


Value: TypeAlias = ParsedSql | ColumnUnit | str | float | None

# Stands for a prediction that the grammar cannot read.
EMPTY_SQL = ParsedSql()


END = "\x00"  # after the last token
JOIN_KINDS = frozenset(["inner", "left", "right", "full", "outer", "cross", "natural"])
QUOTES = frozenset(["`", "``", "[", "]"])
GLUED = re.compile(r".[=+/|]|[=+/|].")
NUMBER = re.compile(r"[-+]?\d[\d,.]*$")


class Unreadable(StrEnum):
    """The construct at which the grammar gives up."""

    EMPTY = "empty"
    ODD_QUOTES = "odd_quotes"
    NOT_A_QUERY = "not_a_query"
    INCOMPLETE = "incomplete"
    TOO_DEEP = "too_deep"
    NO_FROM = "no_from"
    CTE = "cte"
    CASE = "case"
    WINDOW = "window"
    CAST = "cast"
    UNSUPPORTED_FUNCTION = "unsupported_function"
    IN_LIST = "in_list"
    NULL_TEST = "null_test"
    EXISTS = "exists"
    NOT_EQUAL_SIGN = "not_equal_sign"
    GLUED_OPERATOR = "glued_operator"
    QUOTED_IDENTIFIER = "quoted_identifier"
    CONSTANT = "constant"
    ARITHMETIC_BETWEEN_AGGREGATES = "arithmetic_between_aggregates"
    ARITHMETIC = "arithmetic"
    SCALAR_SUBQUERY = "scalar_subquery"
    SUBQUERY_IN_FROM = "subquery_in_from"
    SET_ALL = "set_all"
    COMMA_JOIN = "comma_join"
    JOIN_KIND = "join_kind"
    JOIN_USING = "join_using"
    COLUMN_ALIAS = "column_alias"
    TABLE_ALIAS_OF_SUBQUERY = "table_alias_of_subquery"
    ALIAS_WITHOUT_AS = "alias_without_as"
    ALIAS_IS_TABLE = "alias_is_table"
    UNKNOWN_ALIAS = "unknown_alias"
    UNKNOWN_TABLE = "unknown_table"
    UNKNOWN_COLUMN = "unknown_column"
    OTHER = "other"


BY_TOKEN = {
    "case": Unreadable.CASE,
    "over": Unreadable.WINDOW,
    "null": Unreadable.NULL_TEST,
    "exists": Unreadable.EXISTS,
    "cast": Unreadable.CAST,
    "using": Unreadable.JOIN_USING,
    "all": Unreadable.SET_ALL,
    END: Unreadable.INCOMPLETE,
    **dict.fromkeys(JOIN_KINDS, Unreadable.JOIN_KIND),
    **dict.fromkeys(QUOTES, Unreadable.QUOTED_IDENTIFIER),
}
BY_PAIR = {
    ("is", "not"): Unreadable.NULL_TEST,
    ("<", ">"): Unreadable.NOT_EQUAL_SIGN,
}


class UnreadableSqlError(ValueError):
    """The official grammar cannot read the SQL. A prediction counts as empty SQL; a gold stops the official run."""

    def __init__(self, reason: Unreadable, token: str = "") -> None:
        where = f" at {token!r}" if token.strip(END) else ""
        super().__init__(f"the Spider grammar cannot read this SQL: {reason.value}{where}")
        self.reason = reason


def name_reason(tokens: Sequence[str], at: int, in_from: bool, aliases: Collection[str]) -> Unreadable:
    """The reason for the token where reading ended; `aliases` are the known tables and aliases."""
    before, token, after = (tokens[place] if 0 <= place < len(tokens) else END for place in (at - 1, at, at + 1))
    if tokens[0] == "with":
        return Unreadable.CTE
    if tokens[0] not in ("select", "("):
        return Unreadable.NOT_A_QUERY
    if in_value_list(tokens, at):
        return Unreadable.IN_LIST
    if (before, token) in BY_PAIR or token in BY_TOKEN:
        return BY_PAIR.get((before, token)) or BY_TOKEN[token]
    if token == "not":
        return Unreadable.EXISTS if after == "exists" else Unreadable.OTHER
    return reason_in_from(tokens, at, aliases) if in_from else reason_of_value(before, token, after, aliases)


def reason_in_from(tokens: Sequence[str], at: int, aliases: Collection[str]) -> Unreadable:
    before, token = tokens[at - 1], tokens[at]
    if token == "as":
        return Unreadable.TABLE_ALIAS_OF_SUBQUERY
    if token == ",":
        return Unreadable.COMMA_JOIN
    if token in ("(", "select"):
        return Unreadable.SUBQUERY_IN_FROM
    return Unreadable.ALIAS_WITHOUT_AS if before in aliases or before == ")" else Unreadable.UNKNOWN_TABLE


def reason_of_value(before: str, token: str, after: str, aliases: Collection[str]) -> Unreadable:
    if token == "as":
        return Unreadable.COLUMN_ALIAS
    if token in ("(", "select"):
        return Unreadable.SCALAR_SUBQUERY if "select" in (token, after) else Unreadable.ARITHMETIC
    if after == "(":
        return Unreadable.UNSUPPORTED_FUNCTION
    if token in ("+", "-", "*", "/"):
        return Unreadable.ARITHMETIC_BETWEEN_AGGREGATES if before == ")" else Unreadable.ARITHMETIC
    if token.startswith('"') or NUMBER.match(token):
        return Unreadable.CONSTANT
    if GLUED.search(token) or token in ("<", ">", "=", "||"):
        return Unreadable.GLUED_OPERATOR
    if "." in token:
        return Unreadable.UNKNOWN_COLUMN if token.partition(".")[0] in aliases else Unreadable.UNKNOWN_ALIAS
    return Unreadable.UNKNOWN_COLUMN if token[:1].isalpha() or token[:1] == "_" else Unreadable.OTHER


def in_value_list(tokens: Sequence[str], at: int) -> bool:
    for place in range(min(at, len(tokens) - 1), 0, -1):
        if tokens[place] == "(" and tokens[place - 1] == "in":
            return place < at and tokens[place + 1] != "select"
        if place < at and tokens[place] in (")", "select"):
            return False
    return False
