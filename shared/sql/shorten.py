"""Makes a rendered prompt shorter where it must be: cells are clipped first, then rows go, 3 → 1 → 0.

It works on the text that `shared.sql.prompt` renders, so that trainer, serving and evaluation, which hold messages and
a tokenizer but no schema card, shorten alike. Nothing but example rows ever goes.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.contracts.records import Message

SHORT_CELL = 12
SEPARATOR = " | "
BLOCK = re.compile(r"\n/\* first rows:\n(?P<header>[^\n]*)\n(?P<rows>(?:(?!/\* first rows:\n)[^\n]*+\n)*?)\*/(?=\n|$)")


@dataclass(frozen=True)
class Step:
    """One way of shortening: characters a cell, rows a table (None: as they are)."""

    name: str
    cell: int | None = None
    rows: int | None = None


AS_IT_IS = Step("whole")
STEPS = (
    Step("clipped", cell=SHORT_CELL),
    Step("one_row", cell=SHORT_CELL, rows=1),
    Step("no_rows", rows=0),
)


def shorten_text(text: str, step: Step) -> str:
    """`text` with every block of example rows shortened."""

    def replace(block: "re.Match[str]") -> str:
        rows = block["rows"].split("\n")[:-1][: step.rows]
        if not rows:
            return ""
        lines = [SEPARATOR.join(_clip(cell, step.cell) for cell in row.split(SEPARATOR)) for row in rows]
        return "\n".join(["\n/* first rows:", block["header"], *lines, "*/"])

    return BLOCK.sub(replace, text)


def shorten(messages: Sequence[Message], fits: Callable[[list[Message]], bool]) -> tuple[list[Message], Step]:
    """The longest form of a prompt that fits, with the step that led there; the last step's form where none does."""
    found, taken = list(messages), AS_IT_IS
    if fits(found):
        return found, taken
    for taken in STEPS:
        found = [one.model_copy(update={"content": shorten_text(one.content, taken)}) for one in messages]
        if fits(found):
            break
    return found, taken


def _clip(cell: str, most: int | None) -> str:
    return cell if most is None or len(cell) <= most else cell[: most - 1] + "…"
