"""The Spider grammar with its limits, as the official evaluator reads it.

Source: the behaviour of process_sql.py of taoyds/test-suite-sql-eval. What looks like an error here is a rule: aliases
are global and the last one wins, text after the first complete query is ignored, a value that is no number and no
literal runs to the next `,` `)` `and` or clause and only its first column counts, and any LIMIT is 1.
"""

from shared.sql.spider.reader import AFTER_FROM, CLAUSES, SET_OPERATIONS, ValueReader
from shared.sql.spider.schema import SpiderSchema
from shared.sql.spider.tokens import OddQuotesError, tokenise
from shared.sql.spider.tree import (
    ColumnUnit,
    Condition,
    Conditions,
    OrderBy,
    ParsedSql,
    SelectItem,
    TableUnit,
    ValueUnit,
)
from shared.sql.spider.unreadable import Unreadable, UnreadableSqlError


def parse(sql: str, schema: SpiderSchema) -> ParsedSql:
    """The tree of `sql`. Raises UnreadableSqlError with a named reason where the official grammar gives up."""
    try:
        tokens = tokenise(sql)
    except OddQuotesError as error:
        raise UnreadableSqlError(Unreadable.ODD_QUOTES) from error
    if not tokens:
        raise UnreadableSqlError(Unreadable.EMPTY)
    try:
        return QueryReader(tokens, schema, known_names(tokens, schema)).query()
    except RecursionError as error:
        raise UnreadableSqlError(Unreadable.TOO_DEEP) from error


def known_names(tokens: list[str], schema: SpiderSchema) -> dict[str, str]:
    """Table and alias -> table: each word after any `as` stands for the word before it."""
    names: dict[str, str] = {}
    place = 0
    for _ in range(tokens.count("as")):
        place = tokens.index("as", place) + 1
        if place == len(tokens):
            raise UnreadableSqlError(Unreadable.INCOMPLETE, "as")
        names[tokens[place]] = tokens[place - 2]
    taken = names.keys() & schema.tables.keys()
    if taken:
        raise UnreadableSqlError(Unreadable.ALIAS_IS_TABLE, min(taken))
    return names | schema.itself


class QueryReader(ValueReader):
    """Reads whole queries."""

    __slots__ = ()

    def query(self) -> ParsedSql:
        """One SELECT and the set operation behind it. FROM is read before SELECT, for the columns' tables."""
        start = self.at
        bracket = self.skip("(")
        select_at = self.at
        tables, joins, scope = self.from_clause(start)
        from_end, self.at = self.at, select_at
        distinct, select = self.select_clause(scope)
        self.at = from_end
        where = self.conditions(scope) if self.skip("where") else ()
        group_by = self.group_by(scope)
        having = self.conditions(scope) if self.skip("having") else ()
        order_by, directions = self.order_by(scope)
        limit_text = self.limit()
        self.skip_semicolons()
        if bracket:
            self.expect(")")
        self.skip_semicolons()
        operation, operand = self.set_operation()
        return ParsedSql(
            select=select,
            distinct=distinct,
            tables=tables,
            joins=joins,
            where=where,
            group_by=group_by,
            having=having,
            order_by=order_by,
            limit=None if limit_text is None else 1,
            intersect=operand if operation == "intersect" else None,
            union=operand if operation == "union" else None,
            except_=operand if operation == "except" else None,
            directions=directions,
            limit_text=limit_text,
        )

    def skip_semicolons(self) -> None:
        """Passes any number of `;`."""
        while self.skip(";"):
            pass

    def set_operation(self) -> tuple[str, ParsedSql | None]:
        """The set operation's word and its right side; ("", None) without one."""
        word = self.tokens[self.at]
        if word not in SET_OPERATIONS:
            return "", None
        self.at += 1
        return word, self.query()

    def from_clause(self, start: int) -> tuple[tuple[TableUnit, ...], Conditions, list[str]]:
        """FROM's tables, its ON conditions in one list, and the names of its tables for columns without one."""
        try:
            self.at = self.tokens.index("from", start) + 1
        except ValueError as error:
            if self.tokens[start] not in ("select", "("):
                raise self.fail() from error
            raise UnreadableSqlError(Unreadable.NO_FROM) from error
        tables: list[TableUnit] = []
        joins: list[Condition | str] = []
        scope: list[str] = []
        while self.at < self.end:
            bracket = self.skip("(")
            tables.append(self.table_unit(scope))
            if self.skip("on"):
                found = self.conditions(scope)
                joins += ["and", *found] if joins else found
            if bracket:
                self.expect(")")
            if self.tokens[self.at] in AFTER_FROM:
                break
        return tuple(tables), tuple(joins), scope

    def table_unit(self, scope: list[str]) -> TableUnit:
        """A subquery, or a table with its alias passed; the table's name goes into `scope`."""
        if self.tokens[self.at] == "select":
            return TableUnit("sql", self.query())
        self.in_from = True
        self.skip("join")
        table = self.names.get(self.tokens[self.at])
        if table is None or table not in self.schema.known:
            raise self.fail()
        self.in_from = False
        self.at += 3 if self.tokens[self.at + 1] == "as" else 1
        scope.append(table)
        return TableUnit("table_unit", table)

    def select_clause(self, scope: list[str]) -> tuple[bool, tuple[SelectItem, ...]]:
        """Whether DISTINCT, and the items; a comma between two is not asked for."""
        self.expect("select")
        distinct = self.skip("distinct")
        items: list[SelectItem] = []
        while self.at < self.end and self.tokens[self.at] not in CLAUSES:
            aggregate = self.aggregate()
            items.append(SelectItem(aggregate, self.value_unit(scope)))
            self.skip(",")
        return distinct, tuple(items)

    def group_by(self, scope: list[str]) -> tuple[ColumnUnit, ...]:
        """The columns of GROUP BY."""
        if not self.skip("group"):
            return ()
        self.expect("by")
        found: list[ColumnUnit] = []
        while self.at < self.end and self.tokens[self.at] not in AFTER_FROM:
            found.append(self.column_unit(scope))
            if not self.skip(","):
                break
        return tuple(found)

    def order_by(self, scope: list[str]) -> tuple[OrderBy | None, tuple[str, ...]]:
        """ORDER BY with the last direction that is written, and the direction of each value."""
        if not self.skip("order"):
            return None, ()
        self.expect("by")
        values: list[ValueUnit] = []
        directions: list[str] = []
        last = "asc"
        while self.at < self.end and self.tokens[self.at] not in AFTER_FROM:
            values.append(self.value_unit(scope))
            directions.append("asc")
            if self.tokens[self.at] in ("asc", "desc"):
                last = directions[-1] = self.tokens[self.at]
                self.at += 1
            if not self.skip(","):
                break
        return OrderBy(last, tuple(values)), tuple(directions)

    def limit(self) -> str | None:
        """The word after LIMIT; None without one."""
        if not self.skip("limit"):
            return None
        if self.at >= self.end:
            raise self.fail()
        self.at += 1
        return self.tokens[self.at - 1]
