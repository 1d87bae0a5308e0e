"""The report in a terminal: plain text, at most 110 columns."""

import textwrap

from services.evaluation.report_data import ReportData
from services.evaluation.tables import Table, comparison_table, sampled_table, score_table

WIDTH = 110


def render_terminal(data: ReportData) -> str:
    """Findings, scores and differences of each set, caveats. Control characters are shown as "?"."""
    lines = [f"Evaluation of {data.job_name} ({data.job_id})", "=" * WIDTH, *bullets(data.findings)]
    for one in data.sets:
        size = f"{one.scored} of {one.questions} questions count, {one.databases} databases, {one.domains} domains"
        lines += ["", f"{one.name}: {size}", "-" * WIDTH]
        for table in (
            score_table(data, one.name),
            sampled_table(data, one.name),
            short(comparison_table(data, one.name)),
        ):
            lines += [*grid_lines(table), ""] if table.rows else []
    lines += ["-" * WIDTH, *bullets([*data.caveats, *([data.data_source] if data.data_source else [])])]
    return "\n".join(plain(line).rstrip()[:WIDTH] for line in lines) + "\n"


def short(table: Table) -> Table:
    """The comparison table without the column that has no room here (the findings and the files have it)."""
    kept = [k for k, name in enumerate(table.header) if name != "Smallest effect"]
    rows = [[row[k] for k in kept] for row in table.rows]
    return Table([table.header[k] for k in kept], rows, table.text_columns, table.last_is_text)


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
