"""Numbers, tables and lists as plain text of at most 110 columns."""

import textwrap

from services.evaluation.model import ArmComparison, ArmScore, CorrectCount, Interval
from shared.pages.render import TextTable

NONE = "-"


def percent(rate: float | None) -> str:
    """A rate from 0 to 1 as "83.3 %"."""
    return NONE if rate is None else f"{rate * 100:.1f} %"


def signed(points: float) -> str:
    """Points with their sign and one decimal; zero has no sign."""
    # May be -0.0, which must not show its sign.
    rounded = round(points, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def accuracy_text(score: ArmScore) -> str:
    """ "83.3 % (100/120)"; for sampled arms the counts are answers."""
    if score.accuracy is None:
        return "no answers"
    total = score.questions if score.arm.greedy else score.rows
    return f"{percent(score.accuracy)} ({score.correct}/{total})"


def tally_text(tally: CorrectCount) -> str:
    return f"{percent(tally.correct / tally.total)} ({tally.correct}/{tally.total})" if tally.total else NONE


def rate_interval(interval: Interval | None) -> str:
    """ "[75.1, 90.0]" in percent."""
    return NONE if interval is None else f"[{interval.low * 100:.1f}, {interval.high * 100:.1f}]"


def points_text(comparison: ArmComparison) -> str:
    """ "+4.2 [-1.0, +9.1]"."""
    if comparison.interval is None:
        return f"{signed(comparison.points)} (no interval)"
    return f"{signed(comparison.points)} [{signed(comparison.interval.low)}, {signed(comparison.interval.high)}]"


def p_text(p_value: float | None) -> str:
    if p_value is None:
        return NONE
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def decimals(value: float | None, places: int = 1) -> str:
    return NONE if value is None else f"{value:.{places}f}"


def seconds_text(seconds: float) -> str:
    """ "12.3 s" below two minutes, then "3 min 20 s"."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    # Rounded before the division, so that minutes and seconds agree.
    return f"{int(seconds + 0.5) // 60} min {int(seconds + 0.5) % 60:02d} s"


WIDTH = 110


def grid_lines(table: TextTable) -> list[str]:
    """Columns as wide as their widest cell, numbers to the right. The first column shrinks where there is no room."""
    cells = [[plain(cell) for cell in row] for row in [table.header, *table.rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(table.header))]
    widths[0] = max(8, min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    sides = [table.is_number(k) for k in range(len(widths))]
    return ["  ".join(map(pad, map(cut, row, widths), widths, sides)) for row in cells]


def pad(cell: str, width: int, to_right: bool) -> str:
    return cell.rjust(width) if to_right else cell.ljust(width)


def cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 3] + "..."


def plain(text: str) -> str:
    return "".join(mark if mark.isprintable() else "?" for mark in text)


def bullets(lines: list[str]) -> list[str]:
    wrapped = [textwrap.wrap(plain(line), WIDTH - 2, break_on_hyphens=False) for line in lines]
    return [("- " if k == 0 else "  ") + part for parts in wrapped for k, part in enumerate(parts)]
