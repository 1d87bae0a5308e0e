"""What the official Spider grammar makes of a SQL. Two trees are equal where the official dictionaries are."""

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

NONE = "none"


class ColumnUnit(NamedTuple):
    """`count(distinct t.c)`; `aggregate` is "none" without one, `distinct` None once it is not compared."""

    aggregate: str
    column: str
    distinct: bool | None


class ValueUnit(NamedTuple):
    """One column, or two with an operator between."""

    operator: str
    left: ColumnUnit
    right: ColumnUnit | None


class SelectItem(NamedTuple):
    """One item of SELECT; the aggregate before a bracket stands here, not in the column."""

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
    """A table's name or a subquery in FROM."""

    kind: str
    what: "str | ParsedSql"


class OrderBy(NamedTuple):
    """The values ordered by, and one direction: officially the last that was written, else asc."""

    direction: str
    values: tuple[ValueUnit, ...]


# Conditions stand at even places with "and" or "or" between. Two conditions with no connector keep that odd shape,
# as they do officially.
Conditions: TypeAlias = tuple[Condition | str, ...]


@dataclass(frozen=True, slots=True)
class ParsedSql:
    """One SELECT with its set operation. `limit` is 1 wherever there is a LIMIT, as officially.

    `directions` (one a value) and `limit_text` hold what the official tree forgets; they take no part in equality.
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
        """INTERSECT, EXCEPT, UNION: the official order."""
        return self.intersect, self.except_, self.union


Value: TypeAlias = ParsedSql | ColumnUnit | str | float | None

# What a prediction counts as that the grammar cannot read.
EMPTY_SQL = ParsedSql()
