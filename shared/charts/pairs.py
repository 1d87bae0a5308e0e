"""Charts of a set of pairs, for its card and for the report of its job: what failed, and how, and both sides' shape."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.charts.axes import axis, grid, place, strip
from shared.charts.histogram import histogram
from shared.contracts.pairing import ErrorProfile, PairShape, ProfileLine

MARKS = [0.0, 25.0, 50.0, 75.0, 100.0]
HEIGHT = 20
KINDS = {
    "correct": "right",
    "wrong": "wrong result",
    "error": "error",
    "timeout": "timeout",
    "unextractable": "no SQL",
}
FAILURES = tuple(kind for kind in KINDS if kind != "correct")


@dataclass(frozen=True)
class BarRow:
    """A bar with what stands left and right of it; `strip` is SVG of ours, the rest is text."""

    label: str
    strip: str
    value: str


@dataclass(frozen=True)
class BarChart:
    """Bars over one axis; `legend` names the kinds (classes of the marks) that are in it."""

    title: str
    rows: list[BarRow]
    axis: str
    caption: str
    legend: dict[str, str]


@dataclass(frozen=True)
class Figure:
    """A drawing of its own."""

    title: str
    svg: str
    legend: dict[str, str]


def bar_charts(profile: ErrorProfile) -> list[BarChart]:
    """Answers by outcome, and the share that failed by what the gold uses."""
    total = sum(line.answers for line in profile.outcomes)
    charts = [
        bar_chart("Answers by outcome", profile.outcomes, tuple(KINDS), total, "Share of all answers."),
        bar_chart("Not right, by what the gold uses", profile.features, FAILURES, None, "Share of the answers."),
    ]
    return [chart for chart in charts if chart.rows]


def bar_chart(
    title: str, lines: Sequence[ProfileLine], kinds: tuple[str, ...], total: int | None, said: str
) -> BarChart:
    """One bar a line: its kinds one behind the other, in percent of `total`, or of the line's own answers."""
    rows = []
    used: set[str] = set()
    for line in lines:
        whole = total or line.answers
        parts = [(kind, getattr(line, kind) / whole * 100) for kind in kinds if whole and getattr(line, kind)]
        used |= {kind for kind, _ in parts}
        shown = sum(share for _, share in parts)
        rows.append(BarRow(line.name.replace("_", " "), stacked(parts), value_text(shown, line, total)))
    legend = {kind: name for kind, name in KINDS.items() if kind in used}
    return BarChart(title, rows, axis(MARKS, 0, 100, " %"), said, legend)


def value_text(share: float, line: ProfileLine, total: int | None) -> str:
    """Percent with the counts behind it."""
    failed = line.answers - line.correct
    return f"{share:.1f} % ({line.answers})" if total else f"{share:.1f} % ({failed}/{line.answers})"


def stacked(parts: Sequence[tuple[str, float]]) -> str:
    """Segments in percent of the strip's width, one behind the other."""
    drawn, begin = [grid(MARKS, 0, 100, HEIGHT)], 0.0
    for kind, share in parts:
        drawn.append(f'<rect class="{kind}" x="{place(begin, 0, 100)}" y="4" width="{share:.2f}%" height="12"/>')
        begin += share
    return strip("".join(drawn), HEIGHT)


def figures(shape: PairShape) -> list[Figure]:
    """How far the sides are apart, and how long each is."""
    found = [
        Figure("Distance of the sides", histogram({"distance": shape.distances}, "tokens"), {}),
        Figure(
            "Length of the sides",
            histogram({"chosen": shape.chosen, "rejected": shape.rejected}, "characters"),
            {"chosen": "chosen", "rejected": "rejected"},
        ),
    ]
    return [one for one in found if one.svg]


# Colours of the marks: of both pages' palettes (`--right` and others), so that they follow light and dark.
MARK_STYLE = """
rect.correct, rect.chosen, .key.correct, .key.chosen { fill: var(--right); background: var(--right); }
rect.wrong, rect.rejected, .key.wrong, .key.rejected { fill: var(--worse); background: var(--worse); }
rect.error, rect.distance, .key.error { fill: var(--main); background: var(--main); }
rect.timeout, .key.timeout { fill: var(--ink); background: var(--ink); }
rect.unextractable, .key.unextractable { fill: var(--base); background: var(--base); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: .82rem; color: var(--soft); margin: 2px 0 6px; }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .45em; }
"""
