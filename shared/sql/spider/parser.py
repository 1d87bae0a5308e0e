"""The Spider grammar with its limits, as the official evaluator reads it.

Source: the behaviour of process_sql.py of taoyds/test-suite-sql-eval. What looks like an error here is a rule: aliases
are global and the last one wins, text after the first complete query is ignored, a value that is no number and no
literal runs to the next `,` `)` `and` or clause and only its first column counts, and any LIMIT is 1.
"""

import re
from collections.abc import Callable
from functools import partial

from shared.sql.spider.schema import EVERY_COLUMN, SpiderSchema
from shared.sql.spider.tree import (
    END,
    NONE,
    ColumnUnit,
    Condition,
    Conditions,
    OrderBy,
    ParsedSql,
    SelectItem,
    TableUnit,
    Unreadable,
    UnreadableSqlError,
    Value,
    ValueUnit,
    name_reason,
)

CLAUSES = frozenset(["select", "from", "where", "group", "order", "limit", "intersect", "union", "except"])
SET_OPERATIONS = frozenset(["intersect", "union", "except"])
AFTER_FROM = CLAUSES | {")", ";"}
AFTER_CONDITION = AFTER_FROM | {"join", "on", "as"}
AFTER_VALUE = CLAUSES | {"join", "on", "as", ",", ")", "and", END}
COMPARISONS = frozenset(["not", "between", "=", ">", "<", ">=", "<=", "!=", "in", "like", "is", "exists"])
ARITHMETIC = frozenset([NONE, "-", "+", "*", "/"])
AGGREGATES = frozenset([NONE, "max", "min", "count", "sum", "avg"])
COMPARED = ("!", ">", "<")
# One pass gives the same as the ordered rules, unless the text contains one of these.
SLOW_MARKS = (",,", ",:", ":,", "::", "__val_", "cannot", "gimme", "gonna", "gotta", "lemme", "wanna")
CLOSERS = ")]}> \t\n\r\f\v\x1c\x1d\x1e\x1f"
LITERAL = re.compile(r'"[^"]*"')
ONE_PASS = re.compile(
    r"""[;@#$%&?!*\[\](){}<>]|``?|--|\.{2,}|[,:](?!\d)"""
    r"""|(?:"[^"]*"|[^\s;@#$%&?!*\[\](){}<>`".,:\-]+|-(?!-)|\.(?!\.)|[,:](?=\d))+"""
)
# NLTK's rules in NLTK's order, for text without quotes; the order decides `a,,b` and `x..`.
ORDERED = [
    (re.compile(r"([«“‘„]|``?)"), r" \1 "),
    (re.compile(r"([^.])(\.)([\])}>»”’ ]*+)\s*$"), r"\1 \2 \3 "),
    (re.compile(r"([:,])(\D)"), r" \1 \2"),
    (re.compile(r"([:,])$"), r" \1 "),
    (re.compile(r"(\.{2,})"), r" \1 "),
    (re.compile(r"([;@#$%&\u2012-\u2015])"), r" \1 "),
    (re.compile(r"([^.])(\.)([\])}>]*)\s*$"), r"\1 \2\3 "),
    (re.compile(r"([?!*\[\](){}<>])"), r" \1 "),
    (re.compile(r"--"), " -- "),
    (re.compile(r"([»”’])"), r" \1 "),
    (re.compile(r"(?i)\b(can)(not)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(gim|lem)(me)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(gon)(na)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(got)(ta)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(wan)(na)(?=\s|$)"), r" \1 \2 "),
]


def parse_spider_sql(sql: str, schema: SpiderSchema) -> ParsedSql:
    """The tree of `sql`. Raises `UnreadableSqlError` with the reason if the official grammar gives up."""
    try:
        tokens = tokenize_spider(sql)
    except OddQuotesError as error:
        raise UnreadableSqlError(Unreadable.ODD_QUOTES) from error
    if not tokens:
        raise UnreadableSqlError(Unreadable.EMPTY)
    try:
        return SpiderReader(tokens, schema, known_names(tokens, schema)).query()
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


class SpiderReader:
    """Reads one token after the other; `at` is the place of the next."""

    __slots__ = ("at", "end", "in_from", "names", "schema", "tokens")

    def __init__(self, tokens: list[str], schema: SpiderSchema, names: dict[str, str]) -> None:
        self.end = len(tokens)
        self.tokens = [*tokens, END]  # END spares a check of bounds at every look ahead
        self.schema = schema
        self.names = names
        self.at = 0
        self.in_from = False

    def fail(self) -> UnreadableSqlError:
        at = min(self.at, self.end)
        reason = name_reason(self.tokens, at, self.in_from, self.names)
        return UnreadableSqlError(reason, self.tokens[at])

    def skip(self, token: str) -> bool:
        if self.tokens[self.at] != token:
            return False
        self.at += 1
        return True

    def expect(self, token: str) -> None:
        if self.tokens[self.at] != token:
            raise self.fail()
        self.at += 1

    def query(self) -> ParsedSql:
        """One SELECT and the set operation after it. FROM is read before SELECT, for the columns' tables."""
        start = self.at
        bracket = self.skip("(")
        select_at = self.at
        tables, joins, scope = self.from_clause(start)
        # Unqualified columns need the tables, so SELECT is read after FROM.
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
            # The official tree holds 1 for any LIMIT.
            limit=None if limit_text is None else 1,
            intersect=operand if operation == "intersect" else None,
            union=operand if operation == "union" else None,
            except_=operand if operation == "except" else None,
            directions=directions,
            limit_text=limit_text,
        )

    def skip_semicolons(self) -> None:
        while self.skip(";"):
            pass

    def set_operation(self) -> tuple[str, ParsedSql | None]:
        word = self.tokens[self.at]
        if word not in SET_OPERATIONS:
            return "", None
        self.at += 1
        return word, self.query()

    def from_clause(self, start: int) -> tuple[tuple[TableUnit, ...], Conditions, list[str]]:
        """FROM's tables, its ON conditions in one list, and the tables in scope for unqualified columns."""
        try:
            # The first FROM after the start, even that of a subquery in SELECT.
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
        if self.tokens[self.at] == "select":
            return TableUnit("sql", self.query())
        self.in_from = True
        self.skip("join")
        table = self.names.get(self.tokens[self.at])
        if table is None or table not in self.schema.known:
            raise self.fail()
        self.in_from = False
        # The alias itself was read beforehand, by `known_names`.
        self.at += 3 if self.tokens[self.at + 1] == "as" else 1
        scope.append(table)
        return TableUnit("table_unit", table)

    def select_clause(self, scope: list[str]) -> tuple[bool, tuple[SelectItem, ...]]:
        self.expect("select")
        distinct = self.skip("distinct")
        items: list[SelectItem] = []
        while self.at < self.end and self.tokens[self.at] not in CLAUSES:
            aggregate = self.aggregate()
            items.append(SelectItem(aggregate, self.value_unit(scope)))
            self.skip(",")
        return distinct, tuple(items)

    def group_by(self, scope: list[str]) -> tuple[ColumnUnit, ...]:
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
        """ORDER BY with the last direction written, and the direction of each value."""
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
        if not self.skip("limit"):
            return None
        if self.at >= self.end:
            raise self.fail()
        self.at += 1
        return self.tokens[self.at - 1]

    def aggregate(self) -> str:
        word = self.tokens[self.at]
        if word not in AGGREGATES:
            return NONE
        self.at += 1
        return word

    def value_unit(self, scope: list[str]) -> ValueUnit:
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

        As in the official code, an opening bracket before an aggregate is consumed; the caller gets the closing one.
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
        token = self.tokens[self.at]
        found = EVERY_COLUMN if token == EVERY_COLUMN else self.qualified(token) or self.in_scope(token, scope)
        if found is None:
            raise self.fail()
        self.at += 1
        return found

    def qualified(self, token: str) -> str | None:
        alias, dot, name = token.partition(".")
        table = self.names.get(alias) if dot and "." not in name else None
        full = f"{table}.{name}"
        return full if table is not None and full in self.schema.known else None

    def in_scope(self, token: str, scope: list[str]) -> str | None:
        """As in the official code, a name that is no table ends the search."""
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
        start = self.at
        bracket = self.skip("(")
        found = self.bare_value(start, scope)
        if bracket:
            self.expect(")")
        return found

    def bare_value(self, start: int, scope: list[str]) -> Value:
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
        """The column at the head of the text from `start`; the whole text is consumed."""
        end = self.at
        while self.tokens[end] not in AFTER_VALUE:
            end += 1
        found = SpiderReader(self.tokens[start:end], self.schema, self.names)
        try:
            unit = found.column_unit(scope)
        except UnreadableSqlError as error:
            self.at = min(start + found.at, end)
            raise self.fail() from error
        self.at = end
        return unit


class OddQuotesError(ValueError):
    """The text has an odd number of quote characters."""


def tokenize_spider(sql: str) -> list[str]:
    """The tokens of process_sql.tokenize, which uses NLTK: every quoted literal is one token in its own case,
    everything else is lower case, and `! =`, `> =` and `< =` are joined. Raises `OddQuotesError`, where the official
    code asserts.
    """
    text = sql.replace("'", '"')
    if text.count('"') % 2:
        raise OddQuotesError("odd number of quotes")
    return joined(one_pass(text) or by_ordered_rules(text))


def one_pass(text: str) -> list[str] | None:
    """Tokens by one scan; None if only the ordered rules are certain to be right."""
    lowered = text.lower()
    if not text.isascii() or text.rstrip(CLOSERS).endswith(".") or any(mark in lowered for mark in SLOW_MARKS):
        return None
    tokens: list[str] = ONE_PASS.findall(text)
    for place, token in enumerate(tokens):
        if '"' not in token:
            tokens[place] = token.lower()
        elif LITERAL.fullmatch(token) is None:  # a literal joined to a word: the official code loses its text
            return None
    return tokens


def by_ordered_rules(text: str) -> list[str]:
    """Applies one rule after the other, with each literal behind a key as in the official code."""
    literals: dict[str, str] = {}
    hide: Callable[[re.Match[str]], str] = partial(hidden, literals)
    text = LITERAL.sub(hide, text)
    for rule, spaced in ORDERED:
        text = rule.sub(spaced, text)
    return [literals.get(token, token) for token in map(str.lower, text.split())]


def hidden(literals: dict[str, str], match: re.Match[str]) -> str:
    # The key consists of word characters, so it sticks to letters beside it, as in the official code.
    key = f"__val_{match.start()}_{match.end() - 1}__"
    literals[key] = match.group()
    return key


def joined(tokens: list[str]) -> list[str]:
    if "=" not in tokens:
        return tokens
    found: list[str] = []
    before = ""
    for token in tokens:
        if token == "=" and before in COMPARED:
            found[-1] = before + "="
        else:
            found.append(token)
        before = token
    return found
