"""Changed copies of SQL: by its tree (through sqlglot, whose text is run as noise only) and by its letters."""

import random
from collections.abc import Callable

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

ODD = (
    "\x00",
    "\ud800",
    "'",
    '"',
    "`",
    "[",
    "(",
    ")",
    ";",
    "--",
    "/*",
    "*/",
    "\ufeff",
    "\u202e",
    "\u00a0",
    "é",
    "😀",
    "\\",
    "?",
    ":a",
)
WORDS = (
    "SELECT",
    "FROM",
    "NOT",
    "NULL",
    "UNION ALL",
    "ORDER BY",
    "JOIN",
    "CASE",
    "OVER ()",
    "DELETE",
    "ATTACH",
    "PRAGMA",
)
LITERALS = ("0", "-1", "9223372036854775807", "1e308", "''", "'%'", "NULL", "x'00ff'", "'9999-12-31'", "0.1", "''''")
FUNCTIONS = (
    "count",
    "sum",
    "abs",
    "hex",
    "zeroblob",
    "random",
    "load_extension",
    "json",
    "printf",
    "nth_value",
    "likelihood",
)


def tree_swap(tree: exp.Expression, dice: random.Random) -> None:
    """One node takes the place of another."""
    one, other = dice.choice(inner(tree)), dice.choice(inner(tree))
    one.replace(other.copy())


def tree_delete(tree: exp.Expression, dice: random.Random) -> None:
    """One node less."""
    dice.choice(inner(tree)).pop()


def tree_double(tree: exp.Expression, dice: random.Random) -> None:
    """A node of a list twice, or many times."""
    lists = [node for node in tree.walk() if node.args.get("expressions")]
    items = dice.choice(lists).args["expressions"]
    items.extend(item.copy() for item in items[:1] * dice.choice((1, 3, 60)))


def tree_literal(tree: exp.Expression, dice: random.Random) -> None:
    """Another literal or column."""
    leaf = dice.choice([node for node in tree.walk() if isinstance(node, exp.Literal | exp.Column)])
    leaf.replace(sqlglot.parse_one(dice.choice(LITERALS), dialect="sqlite"))


def tree_nest(tree: exp.Expression, dice: random.Random) -> None:
    """A node becomes a query inside of itself, some levels deep."""
    node = dice.choice(inner(tree))
    deep: exp.Expression = node.copy()
    for _ in range(dice.choice((1, 5, 40))):
        deep = exp.Subquery(this=exp.select(deep))
    node.replace(deep)


def tree_call(tree: exp.Expression, dice: random.Random) -> None:
    """A node becomes an argument of a function."""
    node = dice.choice(inner(tree))
    node.replace(exp.Anonymous(this=dice.choice(FUNCTIONS), expressions=[node.copy()] * dice.choice((0, 1, 2))))


def tree_limit(tree: exp.Expression, dice: random.Random) -> None:
    """A limit of its own."""
    tree.set("limit", exp.Limit(expression=sqlglot.parse_one(dice.choice(LITERALS), dialect="sqlite")))


def inner(tree: exp.Expression) -> list[exp.Expression]:
    """Every node but the root."""
    return [node for node in tree.walk() if node is not tree]


TREE: tuple[Callable[[exp.Expression, random.Random], None], ...] = (
    *(tree_swap, tree_delete, tree_double, tree_literal, tree_nest, tree_call, tree_limit),
)


def by_tree(sql: str, seed: int) -> str:
    """Up to three changes of the tree; the text itself where sqlglot cannot read or write it."""
    dice = random.Random(seed)
    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
        for _ in range(dice.randint(1, 3)):
            dice.choice(TREE)(tree, dice)
        return tree.sql(dialect="sqlite")
    except (SqlglotError, IndexError, ValueError, TypeError, AttributeError, KeyError):  # trees that are none any more
        return sql


def cuts(size: int, dice: random.Random) -> tuple[int, int]:
    """Two places in order."""
    first, second = sorted((dice.randint(0, size), dice.randint(0, size)))
    return first, second


def by_text(sql: str, other: str, seed: int) -> str:
    """Up to four changes of the letters: cut, splice, repeat, insert."""
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 4)):
        start, end = cuts(len(sql), dice)
        part = sql[start:end]
        sql = dice.choice(
            (
                sql[:start] + sql[end:],
                sql[:start] + other[slice(*cuts(len(other), dice))] + sql[end:],
                sql[:start] + part * dice.choice((2, 3, 50)) + sql[end:],
                sql[:start] + dice.choice(ODD) * dice.choice((1, 1, 2, 300)) + sql[start:],
                sql[:start] + f" {dice.choice(WORDS)} " + sql[start:],
                sql[:start] + "".join(dice.sample(part, len(part))) + sql[end:],
            )
        )[:120_000]
    return sql
