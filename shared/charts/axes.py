"""Strips and their axes: marks are placed in percent of the width, so that text and strokes keep their size."""

from math import floor, log10


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts `span` into at most `most` parts."""
    if span <= 0:
        return 1.0
    power = 10.0 ** floor(log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most + 1e-9)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from `low` to `high`."""
    step = nice_step(high - low, most)
    first = -floor(-low / step + 1e-9)
    return [round(step * k, 10) for k in range(first, floor(high / step + 1e-9) + 1)]


def place(value: float, low: float, high: float) -> str:
    """A position in percent of the strip's width, kept inside it."""
    share = (value - low) / (high - low) if high > low else 0.0
    return f"{min(1.0, max(0.0, share)) * 100:.2f}%"


def grid(marks: list[float], low: float, high: float, height: int) -> str:
    """Vertical grid lines."""
    positions = [place(mark, low, high) for mark in marks]
    return "".join(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height}"/>' for x in positions)


def strip(inner: str, height: int) -> str:
    """An SVG as wide as its place. It is decoration: the numbers stand beside it as text."""
    return f'<svg class="strip" width="100%" height="{height}" aria-hidden="true">{inner}</svg>'


def axis(marks: list[float], low: float, high: float, unit: str = "") -> str:
    """Labels under strips of the same range."""
    parts = []
    for mark in marks:
        share = (mark - low) / (high - low) if high > low else 0.0
        anchor = "start" if share < 0.04 else "end" if share > 0.96 else "middle"
        parts.append(f'<text x="{place(mark, low, high)}" y="13" text-anchor="{anchor}">{mark:g}{unit}</text>')
    return strip("".join(parts), 18)
