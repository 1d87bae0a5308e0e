"""Tables and sentences as plain text of at most 110 columns. Light: the command line starts with it."""

import textwrap
from dataclasses import dataclass

WIDTH = 110


@dataclass(frozen=True)
class Table:
    """Header and rows of cells; the first `text_columns` columns hold text, the others numbers."""

    header: list[str]
    rows: list[list[str]]
    text_columns: int = 1
    last_is_text: bool = False

    def is_number(self, column: int) -> bool:
        """Whether a column is set to the right."""
        return column >= self.text_columns and not (self.last_is_text and column == len(self.header) - 1)


def grid_lines(table: Table) -> list[str]:
    """Columns padded to their widest cell, numbers to the right; the first column gives way where there is no room."""
    cells = [[plain(cell) for cell in row] for row in [table.header, *table.rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(table.header))]
    widths[0] = max(8, min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    sides = [table.is_number(k) for k in range(len(widths))]
    return ["  ".join(map(pad, map(cut, row, widths), widths, sides)) for row in cells]


def pad(cell: str, width: int, to_right: bool) -> str:
    """A cell of `width` columns."""
    return cell.rjust(width) if to_right else cell.ljust(width)


def cut(cell: str, width: int) -> str:
    """At most `width` columns."""
    return cell if len(cell) <= width else cell[: width - 3] + "..."


def plain(text: str) -> str:
    """Text without characters that a terminal would obey."""
    return "".join(mark if mark.isprintable() else "?" for mark in text)


def bullets(lines: list[str]) -> list[str]:
    """Wrapped lines with a hanging dash."""
    wrapped = [textwrap.wrap(plain(line), WIDTH - 2, break_on_hyphens=False) for line in lines]
    return [("- " if k == 0 else "  ") + part for parts in wrapped for k, part in enumerate(parts)]
