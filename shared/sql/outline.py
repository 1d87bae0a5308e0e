"""A SQL in a few plain sentences, read off its tree: stands for reasoning that nobody has written.

It says what the statement does and not why: honest, short, the same for the same SQL.
"""

from typing import TYPE_CHECKING

from shared.sql.parsed import parse_one_sql

if TYPE_CHECKING:
    from sqlglot import exp

SETS = {"Union": "together with", "Intersect": "that are also among", "Except": "without"}


def outline(sql: str) -> str:
    """At least one sentence for any text; one that sqlglot cannot read is only announced."""
    from sqlglot.errors import SqlglotError

    try:
        return of_tree(parse_one_sql(sql))
    except (SqlglotError, RecursionError):
        return "One query answers this."


def of_tree(tree: "exp.Expr") -> str:
    """The sentences of a tree. Raises RecursionError where it is too deep to be written."""
    from sqlglot import exp

    if isinstance(tree, exp.SetOperation):
        word = SETS.get(type(tree).__name__, "combined with")
        return f"Two queries are combined, the first one's rows {word} the second one's. {of_select(first(tree))}"
    return of_select(tree)


def first(tree: "exp.Expr") -> "exp.Expr":
    """The leftmost query of a set operation."""
    from sqlglot import exp

    while isinstance(tree, exp.SetOperation):
        tree = tree.this
    return tree


def of_select(tree: "exp.Expr") -> str:
    """Tables, filter, groups, order, result: a sentence for each that there is."""
    from sqlglot import exp

    if not isinstance(tree, exp.Select):
        return "One query answers this."
    sentences = [tables(tree)]
    for name, text in (("where", "Only rows count where"), ("group", "They are grouped by")):
        if part := tree.args.get(name):
            shown = part.this if name == "where" else None
            said = plain(shown) if shown is not None else ", ".join(plain(one) for one in part.expressions)
            sentences.append(f"{text} {said}.")
    if having := tree.args.get("having"):
        sentences.append(f"Groups are kept where {plain(having.this)}.")
    if order := tree.args.get("order"):
        sentences.append(f"The order is by {', '.join(plain(one) for one in order.expressions)}.")
    if limit := tree.args.get("limit"):
        sentences.append(f"At most {plain(limit.expression)} row(s) are kept.")
    distinct = "different values of " if tree.args.get("distinct") else ""
    sentences.append(f"The answer shows {distinct}{', '.join(plain(one) for one in tree.expressions)}.")
    return " ".join(sentences)


def tables(tree: "exp.Expr") -> str:
    """Which tables are read, and on what they are joined."""
    from sqlglot import exp

    source = tree.args.get("from_") or tree.args.get("from")
    names = [name_of(source.this)] if source is not None else []
    joins = [one for one in tree.args.get("joins") or [] if isinstance(one, exp.Join)]
    names += [name_of(one.this) for one in joins]
    conditions = [plain(on) for one in joins if (on := one.args.get("on")) is not None]
    said = f"The rows come from {', '.join(names)}" if names else "No table is needed"
    return f"{said}, joined on {' and '.join(conditions)}." if conditions else f"{said}."


def name_of(source: "exp.Expr") -> str:
    """A table with its alias, or that it is a query of its own."""
    from sqlglot import exp

    if not isinstance(source, exp.Table):
        return "a subquery"
    return f"{source.name} as {source.alias}" if source.alias else source.name


def plain(node: "exp.Expr") -> str:
    """A part of the statement as SQLite text."""
    return node.sql(dialect="sqlite")
