"""sqlglot's trees of untrusted SQL, at a bounded cost.

sqlglot reads some constructs (a type's name before a bracket, `STRUCT(STRUCT(…`) by trial and backtracking, which
doubles the work with every level: eighteen take seconds, thirty take days. Every trial goes through `_advance`, so
counting there bounds the work. The limit counts steps, not seconds, so that every machine accepts the same texts. All
golds and published answers of Spider and BIRD need at most 1.6 steps per token.
"""

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.generator import Generator
    from sqlglot.parser import Parser

MAX_CHARS = 50_000
MAX_DEPTH = 1_000  # SQLite's own limit for an expression
SHALLOW = 2_000  # with fewer tokens the depth needs no check
# Published golds and answers need at most 1.6 steps per token (decision 0024).
STEPS_A_TOKEN = 20
CALLS_A_NODE = 20
FREE = 2_000  # steps that any text may take, however short


def parse_sql(sql: str) -> "list[exp.Expr]":
    """Reads SQLite's dialect. Every failure of sqlglot is a `SqlglotError`."""
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ParseError

    if len(sql) > MAX_CHARS:
        raise ParseError(f"the SQL is longer than {MAX_CHARS:,} characters")
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    sqlite = Dialect.get_or_raise("sqlite")
    try:
        tokens = sqlite.tokenize(sql)
        parser = bounded_parser()(dialect=sqlite)
        trees = [tree for tree in parser.parse(tokens, sql) if tree is not None]
    except RecursionError as error:
        raise ParseError("the SQL is nested too deeply") from error
    except (ValueError, AttributeError, TypeError, IndexError) as error:  # bugs of sqlglot
        raise ParseError(str(error) or type(error).__name__) from error
    if len(tokens) > SHALLOW and any(is_deeper(tree, MAX_DEPTH) for tree in trees):
        raise ParseError(f"the SQL is nested deeper than {MAX_DEPTH:,} levels")
    return trees


def parse_one_sql(sql: str) -> "exp.Expr":
    """Several statements come as one `Block`. Raises `SqlglotError` for none, or for what cannot be parsed."""
    from sqlglot import exp
    from sqlglot.errors import ParseError

    trees = parse_sql(sql)
    if not trees:
        raise ParseError("there is no statement")
    return exp.Block(expressions=trees) if len(trees) > 1 else trees[0]


def write_sql(tree: "exp.Expr", dialect: str) -> str:
    """A statement in another dialect. Raises `SqlglotError` for what the dialect lacks, or what grows without limit."""
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
    # Level by level, since recursion would itself fail on a deep tree.
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > most:
            return True
        level = [child for node in level for child in node.iter_expressions()]
    return False


@cache
def bounded_parser() -> "type[Parser]":
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
                # not a ParseError: the parser would catch it and try the next alternative
                raise SqlglotError("the SQL is too involved to be read")
            super()._advance(times)

    return BoundedParser


@cache
def bounded_generator(dialect: str) -> "type[Generator]":
    """A dialect's generator, giving up if it writes the same part again and again (CASE for a two-value MAX)."""
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
