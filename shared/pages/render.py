"""HTML pages for people (reports and cards): one base template, one stylesheet, no script, no outside asset.

A page is a template that extends `base.html.j2`; it may import the macros of `macros.html.j2`. Text is escaped; SVG
from `shared.pages.charts` passes through the macros as it is.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_ROWS, SHOWN_COLUMNS, SHOWN_CHARS = 5, 6, 48  # of a query result; characters are those of one cell


@dataclass(frozen=True)
class TextTable:
    """A header and rows of cells. The first `text_columns` columns hold text, the others numbers."""

    header: list[str]
    rows: list[list[str]]
    text_columns: int = 1
    last_is_text: bool = False

    def is_number(self, column: int) -> bool:
        return column >= self.text_columns and not (self.last_is_text and column == len(self.header) - 1)


def render_page(template: Path, **values: object) -> str:
    """Equal values give equal bytes."""
    return environment(template.parent).get_template(template.name).render(values)


def style_hash() -> str:
    """The source expression that allows the pages' stylesheet in a Content-Security-Policy."""
    page = environment(TEMPLATES).get_template("base.html.j2").render()
    style = page.partition("<style>")[2].partition("</style>")[0]
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"


@cache
def environment(folder: Path) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # late: text reports and charts do without

    found = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # a percent sign stays on the line of its number
    found.filters["nobreak"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    found.globals.update(cell=cell_text, SHOWN_ROWS=SHOWN_ROWS, SHOWN_COLUMNS=SHOWN_COLUMNS)
    return found


def cell_text(value: str | float | None) -> str:
    if value is None:
        return "NULL"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "\N{HORIZONTAL ELLIPSIS}"
