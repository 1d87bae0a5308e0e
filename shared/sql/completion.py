"""What a model learns to write: the SQL alone, or short reasoning and then the SQL in a fence.

Without written reasoning an outline of the SQL stands in: a few plain sentences from its tree that say what the
statement does, not why, and the same for the same SQL.
"""

import re
from typing import TYPE_CHECKING

from shared.contracts.records import AnswerTarget
from shared.sql.extraction import sql_start
from shared.sql.parser import parse_one_sql
from shared.sql.reasoning import blank_reasoning
from shared.sql.statement import OPENING

if TYPE_CHECKING:
    from sqlglot import exp

SETS = {"Union": "together with", "Intersect": "that are also among", "Except": "without"}


def outline_sql(sql: str) -> str:
    """At least one sentence for any text, also for SQL that sqlglot cannot parse."""
    from sqlglot.errors import SqlglotError

    try:
        return outline_tree(parse_one_sql(sql))
    except (SqlglotError, RecursionError):
        return "One query answers this."


def outline_tree(tree: "exp.Expr") -> str:
    """Raises `RecursionError` for a tree that is too deep."""
    from sqlglot import exp

    if isinstance(tree, exp.SetOperation):
        word = SETS.get(type(tree).__name__, "combined with")
        first = outline_select(first_query(tree))
        return f"Two queries are combined, the first one's rows {word} the second one's. {first}"
    return outline_select(tree)


def first_query(tree: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    while isinstance(tree, exp.SetOperation):
        tree = tree.this
    return tree


def outline_select(tree: "exp.Expr") -> str:
    from sqlglot import exp

    if not isinstance(tree, exp.Select):
        return "One query answers this."
    sentences = [outline_tables(tree)]
    for name, text in (("where", "Only rows count where"), ("group", "They are grouped by")):
        if part := tree.args.get(name):
            shown = part.this if name == "where" else None
            sentence = to_sqlite(shown) if shown is not None else ", ".join(to_sqlite(one) for one in part.expressions)
            sentences.append(f"{text} {sentence}.")
    if having := tree.args.get("having"):
        sentences.append(f"Groups are kept where {to_sqlite(having.this)}.")
    if order := tree.args.get("order"):
        sentences.append(f"The order is by {', '.join(to_sqlite(one) for one in order.expressions)}.")
    if limit := tree.args.get("limit"):
        sentences.append(f"At most {to_sqlite(limit.expression)} row(s) are kept.")
    distinct = "different values of " if tree.args.get("distinct") else ""
    sentences.append(f"The answer shows {distinct}{', '.join(to_sqlite(one) for one in tree.expressions)}.")
    return " ".join(sentences)


def outline_tables(tree: "exp.Expr") -> str:
    from sqlglot import exp

    # The name of this argument depends on the version of sqlglot.
    source = tree.args.get("from_") or tree.args.get("from")
    names = [source_name(source.this)] if source is not None else []
    joins = [one for one in tree.args.get("joins") or [] if isinstance(one, exp.Join)]
    names += [source_name(one.this) for one in joins]
    conditions = [to_sqlite(on) for one in joins if (on := one.args.get("on")) is not None]
    sentence = f"The rows come from {', '.join(names)}" if names else "No table is needed"
    return f"{sentence}, joined on {' and '.join(conditions)}." if conditions else f"{sentence}."


def source_name(source: "exp.Expr") -> str:
    from sqlglot import exp

    if not isinstance(source, exp.Table):
        return "a subquery"
    return f"{source.name} as {source.alias}" if source.alias else source.name


def to_sqlite(node: "exp.Expr") -> str:
    return node.sql(dialect="sqlite")


WRAPPING = re.compile(
    r"(?:`{3,}+|~{3,}+)(?:sqlite|sql)?|</?(?:sql|sqlite|query|answer|final_answer|solution)>", re.IGNORECASE
)


def render_completion(target: AnswerTarget, sql: str, reasoning: str | None = None) -> str:
    if target == "sql":
        return sql
    sentence = " ".join((reasoning or outline_sql(sql)).split())
    return f"{sentence}\n```sql\n{sql.strip().rstrip(';').rstrip()}\n```"


def extract_reasoning(answer: str) -> str:
    """The text before an answer's SQL, without the model's internal reasoning; empty if there is none."""
    # Reasoning may quote SQL; the last statement is the answer.
    begin = sql_start(answer, last=True)
    sentence = blank_reasoning(answer)[: begin or 0]
    sentence = " ".join(WRAPPING.sub(" ", sentence).split())
    return sentence.rstrip(f"{OPENING}( ") if any(char.isalnum() for char in sentence) else ""
