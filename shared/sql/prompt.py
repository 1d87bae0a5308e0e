"""The one prompt renderer: synthesis exports, pairs, serving and evaluation all speak through it.

The form is `create-select-N`: CREATE TABLE text, then N example rows a table (0 to 5, 3 by default), then the
question, last, so that questions on one database share a prefix. The paper's own format is not known.
"""

from collections.abc import Sequence

from shared.contracts.records import Message
from shared.sql.card import Scalar, SchemaCard, TableCard

PROMPT_VERSION = "create-select/1"
SYSTEM = "Answer with one SQLite query and nothing else."
CELL_LIMIT = 40


def render_cell(value: Scalar) -> str:
    """A value as a person would read it in a row, cut to `CELL_LIMIT` characters."""
    text = "NULL" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - 1] + "…"


def render_table(table: TableCard, rows: int) -> str:
    """One table's CREATE statement and its first `rows` rows."""
    ddl = table.ddl.strip().rstrip(";") + ";"
    shown = table.sample_rows[:rows]
    if not shown:
        return ddl
    header = " | ".join(column.name for column in table.columns)
    lines = [" | ".join(render_cell(cell) for cell in row) for row in shown]
    return "\n".join([ddl, "/* first rows:", header, *lines, "*/"])


def render_schema(card: SchemaCard, rows: int = 3) -> str:
    """All tables of a database, in the card's order."""
    return "\n".join(render_table(table, rows) for table in card.tables)


def render_question(card: SchemaCard, question: str, *, evidence: str | None = None, rows: int = 3) -> Message:
    """The user's turn: schema, evidence where there is one, question."""
    parts = [render_schema(card, rows)]
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
    shots: Sequence[tuple[SchemaCard, str, str]] = (),
) -> list[Message]:
    """The whole prompt. `shots` are worked examples (card, question, gold), shown as earlier turns."""
    messages = [Message(role="system", content=SYSTEM)]
    for shot_card, shot_question, gold in shots:
        messages.append(render_question(shot_card, shot_question, rows=rows))
        messages.append(Message(role="assistant", content=gold))
    messages.append(render_question(card, question, evidence=evidence, rows=rows))
    return messages
