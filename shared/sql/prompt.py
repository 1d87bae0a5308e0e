"""The prompt renderer of synthesis exports, pairs, serving and evaluation.

The form is `create-select-N`: CREATE TABLE text and N sample rows per table (0 to 5, 3 by default), readable views
likewise, then the question, last, so that questions on one database share a prefix. The paper's own format is unknown.
A `PromptStyle` adds comments and foreign keys, and asks for SQL alone or for reasoning before it.

Prompts that are too long are shortened as text (clipped cells first, then fewer sample rows: 3, 1, 0), because trainer,
serving and evaluation hold messages but no schema card. Nothing but sample rows is ever removed.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.catalog.databases import Scalar, SchemaCard, TableCard, ViewCard
from shared.contracts.records import AnswerTarget, Message, PromptStyle
from shared.sql.completion import render_completion

PROMPT_VERSION = "create-select/1"
SYSTEM_PROMPT = "Answer with one SQLite query and nothing else."
SYSTEM_PROMPTS: dict[AnswerTarget, str] = {
    "sql": SYSTEM_PROMPT,
    "reasoning_sql": (
        "Say in two or three short sentences how the question is answered from these tables. "
        "Then give one SQLite query in a code block that begins with ```sql, and nothing after it."
    ),
}
PLAIN_STYLE = PromptStyle()
CELL_LIMIT = 40  # characters
COMMENT_LIMIT = 200  # characters


def prompt_version(rows: int, style: PromptStyle = PLAIN_STYLE) -> str:
    more = [name for name in ("comments", "foreign_keys") if getattr(style, name)]
    target = [] if style.target == "sql" else [style.target]
    return "+".join([f"{PROMPT_VERSION} rows={rows}", *more, *target])


def read_prompt_version(text: str) -> tuple[int, PromptStyle] | None:
    """Rows and style from a `prompt_version`; None for any other text."""
    head, *more = text.split("+")
    form, _, rows = head.partition(" rows=")
    if form != PROMPT_VERSION or not rows.isdecimal():
        return None
    target: AnswerTarget = "reasoning_sql" if "reasoning_sql" in more else "sql"
    return int(rows), PromptStyle(comments="comments" in more, foreign_keys="foreign_keys" in more, target=target)


def render_cell(value: Scalar) -> str:
    text = "NULL" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - 1] + "…"


def render_comment(text: str) -> str:
    """A comment on one line that cannot end the comment around it."""
    line = " ".join(text.replace("*/", "* /").split())
    return line if len(line) <= COMMENT_LIMIT else line[: COMMENT_LIMIT - 1] + "…"


def render_comments(table: TableCard | ViewCard) -> list[str]:
    columns = [f"{column.name}: {render_comment(column.comment)}" for column in table.columns if column.comment]
    head = [render_comment(table.comment)] if table.comment else []
    return ["/* comments:", *head, *columns, "*/"] if head or columns else []


def render_table(table: TableCard, rows: int, style: PromptStyle = PLAIN_STYLE) -> str:
    lines = [table.ddl.strip().rstrip(";") + ";"]
    if style.comments:
        lines += render_comments(table)
    return "\n".join([*lines, *render_rows(table, rows)])


def render_view(view: ViewCard, rows: int, style: PromptStyle = PLAIN_STYLE) -> str:
    """Names the columns as well, because a CREATE VIEW need not do so."""
    columns = ", ".join(render_comment(column.name) for column in view.columns)
    lines = [view.ddl.strip().rstrip(";") + ";", f"/* view with columns: {columns} */"]
    if style.comments:
        lines += render_comments(view)
    return "\n".join([*lines, *render_rows(view, rows)])


def render_rows(table: TableCard | ViewCard, rows: int) -> list[str]:
    if not (shown := table.sample_rows[:rows]):
        return []
    header = " | ".join(column.name for column in table.columns)
    return ["/* first rows:", header, *(" | ".join(render_cell(cell) for cell in row) for row in shown), "*/"]


def render_keys(card: SchemaCard) -> list[str]:
    keys = [
        f"{table.name}.{key.column} = {key.to_table}.{key.to_column}"
        for table in card.tables
        for key in table.foreign_keys
    ]
    return ["/* foreign keys:", *keys, "*/"] if keys else []


def render_schema(card: SchemaCard, rows: int = 3, style: PromptStyle = PLAIN_STYLE) -> str:
    parts = [render_table(table, rows, style) for table in card.tables]
    parts += [render_view(view, rows, style) for view in card.views]
    return "\n".join([*parts, *(render_keys(card) if style.foreign_keys else [])])


def render_question(
    card: SchemaCard, question: str, *, evidence: str | None = None, rows: int = 3, style: PromptStyle = PLAIN_STYLE
) -> Message:
    parts = [render_schema(card, rows, style)]
    if evidence:
        parts.append(f"External knowledge: {evidence}")
    parts.append(f"Question: {question}")
    return Message(role="user", content="\n".join(parts))


def render_messages(
    card: SchemaCard,
    question: str,
    *,
    evidence: str | None = None,
    rows: int = 3,
    style: PromptStyle = PLAIN_STYLE,
    shots: Sequence[tuple[SchemaCard, str, str]] = (),
) -> list[Message]:
    """`shots` are worked examples (card, question, gold), shown as earlier turns."""
    messages = [Message(role="system", content=SYSTEM_PROMPTS[style.target])]
    for shot_card, shot_question, gold in shots:
        messages.append(render_question(shot_card, shot_question, rows=rows, style=style))
        messages.append(Message(role="assistant", content=render_completion(style.target, gold)))
    messages.append(render_question(card, question, evidence=evidence, rows=rows, style=style))
    return messages


SHORT_CELL = 12
SEPARATOR = " | "
# The sample rows as `render_rows` writes them.
BLOCK = re.compile(r"\n/\* first rows:\n(?P<header>[^\n]*)\n(?P<rows>(?:(?!/\* first rows:\n)[^\n]*+\n)*?)\*/(?=\n|$)")


@dataclass(frozen=True)
class Shortening:
    """One way to shorten: characters per cell, sample rows per table (None: unchanged)."""

    name: str
    cell: int | None = None
    rows: int | None = None


UNCHANGED = Shortening("whole")
# In this order: clipped cells lose the least.
SHORTENINGS = (
    Shortening("clipped", cell=SHORT_CELL),
    Shortening("one_row", cell=SHORT_CELL, rows=1),
    Shortening("no_rows", rows=0),
)


def shorten_text(text: str, step: Shortening) -> str:
    def replace(block: "re.Match[str]") -> str:
        rows = block["rows"].split("\n")[:-1][: step.rows]
        if not rows:
            return ""
        lines = [SEPARATOR.join(_clip(cell, step.cell) for cell in row.split(SEPARATOR)) for row in rows]
        return "\n".join(["\n/* first rows:", block["header"], *lines, "*/"])

    return BLOCK.sub(replace, text)


def shorten_prompt(
    messages: Sequence[Message], fits: Callable[[list[Message]], bool]
) -> tuple[list[Message], Shortening]:
    """The longest form of a prompt that fits, and how it was shortened; the shortest form if none fits."""
    found, taken = list(messages), UNCHANGED
    if fits(found):
        return found, taken
    for taken in SHORTENINGS:
        found = [one.model_copy(update={"content": shorten_text(one.content, taken)}) for one in messages]
        if fits(found):
            break
    return found, taken


def _clip(cell: str, most: int | None) -> str:
    return cell if most is None or len(cell) <= most else cell[: most - 1] + "…"
