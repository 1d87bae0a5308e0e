"""Columns, values and conditions of the Spider grammar, over the official tokens."""

from shared.sql.spider.schema import EVERY_COLUMN, SpiderSchema
from shared.sql.spider.tree import (
    NONE,
    ColumnUnit,
    Condition,
    Conditions,
    ParsedSql,
    Value,
    ValueUnit,
)
from shared.sql.spider.unreadable import END, UnreadableSqlError, name_reason

CLAUSES = frozenset(["select", "from", "where", "group", "order", "limit", "intersect", "union", "except"])
SET_OPERATIONS = frozenset(["intersect", "union", "except"])
AFTER_FROM = CLAUSES | {")", ";"}
AFTER_CONDITION = AFTER_FROM | {"join", "on", "as"}
AFTER_VALUE = CLAUSES | {"join", "on", "as", ",", ")", "and", END}
COMPARISONS = frozenset(["not", "between", "=", ">", "<", ">=", "<=", "!=", "in", "like", "is", "exists"])
ARITHMETIC = frozenset([NONE, "-", "+", "*", "/"])
AGGREGATES = frozenset([NONE, "max", "min", "count", "sum", "avg"])


class ValueReader:
    """Reads one token after the other; `at` is the place of the next."""

    __slots__ = ("at", "end", "in_from", "names", "schema", "tokens")

    def __init__(self, tokens: list[str], schema: SpiderSchema, names: dict[str, str]) -> None:
        self.end = len(tokens)
        self.tokens = [*tokens, END]
        self.schema = schema
        self.names = names
        self.at = 0
        self.in_from = False

    def fail(self) -> UnreadableSqlError:
        """The error for the token at hand."""
        at = min(self.at, self.end)
        reason = name_reason(self.tokens, at, self.in_from, self.names)
        return UnreadableSqlError(reason, self.tokens[at])

    def skip(self, token: str) -> bool:
        """Whether the next token is `token`; it is passed then."""
        if self.tokens[self.at] != token:
            return False
        self.at += 1
        return True

    def expect(self, token: str) -> None:
        """Passes `token`. Raises UnreadableSqlError where another one stands."""
        if self.tokens[self.at] != token:
            raise self.fail()
        self.at += 1

    def query(self) -> ParsedSql:
        """A subquery; a reader of values alone knows none."""
        raise self.fail()

    def aggregate(self) -> str:
        """The aggregate's word, passed; "none" where none stands."""
        word = self.tokens[self.at]
        if word not in AGGREGATES:
            return NONE
        self.at += 1
        return word

    def value_unit(self, scope: list[str]) -> ValueUnit:
        """A column, or two with an operator, in at most one bracket."""
        bracket = self.skip("(")
        left = self.column_unit(scope)
        operator, right = NONE, None
        if self.tokens[self.at] in ARITHMETIC:
            operator = self.tokens[self.at]
            self.at += 1
            right = self.column_unit(scope)
        if bracket:
            self.expect(")")
        return ValueUnit(operator, left, right)

    def column_unit(self, scope: list[str]) -> ColumnUnit:
        """A column, bare or in a bracket, or an aggregate of one.

        An opening bracket before an aggregate is passed and its closing one left for the caller, as officially.
        """
        bracket = self.skip("(")
        aggregate = NONE
        if self.tokens[self.at] in AGGREGATES:
            aggregate = self.aggregate()
            self.expect("(")
            bracket = True
        distinct = self.skip("distinct")
        column = self.column(scope)
        if bracket:
            self.expect(")")
        return ColumnUnit(aggregate, column, distinct)

    def column(self, scope: list[str]) -> str:
        """The column's full name: by its table or alias, else the first table of `scope` that has it."""
        token = self.tokens[self.at]
        found = EVERY_COLUMN if token == EVERY_COLUMN else self.qualified(token) or self.in_scope(token, scope)
        if found is None:
            raise self.fail()
        self.at += 1
        return found

    def qualified(self, token: str) -> str | None:
        """The full name of `alias.column`."""
        alias, dot, name = token.partition(".")
        table = self.names.get(alias) if dot and "." not in name else None
        full = f"{table}.{name}"
        return full if table is not None and full in self.schema.known else None

    def in_scope(self, token: str, scope: list[str]) -> str | None:
        """The full name of a bare column; a table that is no table ends the search, as officially."""
        if "." in token:
            return None
        for name in scope:
            table = self.names.get(name)
            if table not in self.schema.tables:
                return None
            if token in self.schema.tables[table]:
                return f"{table}.{token}"
        return None

    def conditions(self, scope: list[str]) -> Conditions:
        """Conditions with their connectors, up to a clause, `)` `;` `join` `on` or `as`."""
        found: list[Condition | str] = []
        while self.at < self.end:
            found.append(self.condition(scope))
            token = self.tokens[self.at]
            if token in AFTER_CONDITION:
                break
            if token in ("and", "or"):
                found.append(token)
                self.at += 1
        return tuple(found)

    def condition(self, scope: list[str]) -> Condition:
        """One comparison; `between` takes two values."""
        left = self.value_unit(scope)
        negated = self.skip("not")
        operator = self.tokens[self.at]
        if operator not in COMPARISONS:
            raise self.fail()
        self.at += 1
        low = self.value(scope)
        high: Value = None
        if operator == "between":
            self.expect("and")
            high = self.value(scope)
        return Condition(negated, operator, left, low, high)

    def value(self, scope: list[str]) -> Value:
        """A subquery, a literal, a number, or the first column of a longer text, in at most one bracket."""
        start = self.at
        bracket = self.skip("(")
        found = self.bare_value(start, scope)
        if bracket:
            self.expect(")")
        return found

    def bare_value(self, start: int, scope: list[str]) -> Value:
        """The value in the bracket; a text that begins before it, at `start`, is read with its bracket."""
        token = self.tokens[self.at]
        if token == "select":
            return self.query()
        if '"' in token:
            self.at += 1
            return token
        try:
            number = float(token)
        except ValueError:
            return self.column_in_text(start, scope)
        self.at += 1
        return number

    def column_in_text(self, start: int, scope: list[str]) -> ColumnUnit:
        """The column at the head of the text from `start`; all up to the text's end is passed."""
        end = self.at
        while self.tokens[end] not in AFTER_VALUE:
            end += 1
        found = ValueReader(self.tokens[start:end], self.schema, self.names)
        try:
            unit = found.column_unit(scope)
        except UnreadableSqlError as error:
            self.at = min(start + found.at, end)
            raise self.fail() from error
        self.at = end
        return unit
