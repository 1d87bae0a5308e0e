"""sqlglot's trees of SQL that a model or a user wrote, at a bounded cost.

sqlglot reads some constructs (a type's name before a bracket, `STRUCT(STRUCT(…`) by trying one way and going back.
That doubles the work with every level: eighteen take seconds, thirty take days. Every try goes through `_advance`, so
counting there bounds the work whatever the construct is. The bound counts steps, not seconds: the same text is read, or
refused, on every machine. All golds and published answers of Spider and BIRD need at most 1.6 steps a token.
"""

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.generator import Generator
    from sqlglot.parser import Parser

MOST_CHARS = 50_000
MOST_DEPTH = 1_000  # SQLite's own limit for an expression
SHALLOW = 2_000  # so few tokens need no look at the depth of their tree
STEPS_A_TOKEN = 20
CALLS_A_NODE = 20
FREE = 2_000


def parse_sql(sql: str) -> "list[exp.Expr]":
    """The statements of a text in SQLite's dialect. Whatever stops sqlglot is raised as SqlglotError."""
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ParseError

    if len(sql) > MOST_CHARS:
        raise ParseError(f"the SQL is longer than {MOST_CHARS:,} characters")
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    sqlite = Dialect.get_or_raise("sqlite")
    try:
        tokens = sqlite.tokenize(sql)
        parser = bounded_parser()(dialect=sqlite)
        trees = [tree for tree in parser.parse(tokens, sql) if tree is not None]
    except RecursionError as error:
        raise ParseError("the SQL is nested too deeply") from error
    except (ValueError, AttributeError, TypeError, IndexError) as error:  # what sqlglot's own faults look like
        raise ParseError(str(error) or type(error).__name__) from error
    if len(tokens) > SHALLOW and any(is_deeper(tree, MOST_DEPTH) for tree in trees):
        raise ParseError(f"the SQL is nested deeper than {MOST_DEPTH:,} levels")
    return trees


def parse_one_sql(sql: str) -> "exp.Expr":
    """The first statement of a text that holds one. Raises SqlglotError."""
    from sqlglot import exp
    from sqlglot.errors import ParseError

    trees = parse_sql(sql)
    if not trees:
        raise ParseError("there is no statement")
    return exp.Block(expressions=trees) if len(trees) > 1 else trees[0]


def write_sql(tree: "exp.Expr", dialect: str) -> str:
    """A statement in another dialect. Raises SqlglotError for what it does not have, or what grows without bound."""
    from sqlglot import ErrorLevel
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import UnsupportedError

    generator = bounded_generator(dialect)(dialect=Dialect.get_or_raise(dialect), unsupported_level=ErrorLevel.RAISE)
    generator.left = FREE + CALLS_A_NODE * sum(1 for _ in tree.walk())  # type: ignore[attr-defined]
    try:
        return generator.generate(tree)
    except RecursionError as error:
        raise UnsupportedError("the SQL is nested too deeply") from error
    except (ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise UnsupportedError(str(error) or type(error).__name__) from error


def is_deeper(tree: "exp.Expr", most: int) -> bool:
    """Whether a tree has more than `most` levels."""
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > most:
            return True
        level = [child for node in level for child in node.iter_expressions()]
    return False


@cache
def bounded_parser() -> "type[Parser]":
    """SQLite's parser that gives up on a text which makes it go back and forth."""
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import SqlglotError

    base: Any = Dialect.get_or_raise("sqlite").parser_class

    class BoundedParser(base):  # type: ignore[misc]
        left: int | None = None

        def _advance(self, times: int = 1) -> None:
            if self.left is None:
                self.left = FREE + STEPS_A_TOKEN * sum(map(len, self._chunks))
            self.left -= 1
            if self.left < 0:
                # no ParseError: the parser takes those for one way that did not work, and tries the next
                raise SqlglotError("the SQL is too involved to be read")
            super()._advance(times)

    return BoundedParser


@cache
def bounded_generator(dialect: str) -> "type[Generator]":
    """A dialect's generator that gives up where it writes the same part again and again (CASE for a two-value MAX)."""
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import SqlglotError

    base: Any = Dialect.get_or_raise(dialect).generator_class

    class BoundedGenerator(base):  # type: ignore[misc]
        left = FREE

        def sql(self, *args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise SqlglotError("the SQL is too involved to be written so")
            return super().sql(*args, **more)

    return BoundedGenerator


def find_syntax_error(sql: str) -> str | None:
    """Why not, or None."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        trees = parse_sql(sql)
    except SqlglotError as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    queries = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    if len(queries) != 1:
        return f"there are {len(queries)} statements"
    return None if isinstance(queries[0], exp.Query) else f"{queries[0].key.upper()} is no query"
