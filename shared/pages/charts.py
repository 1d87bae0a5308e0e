"""Charts as inline SVG for pages: strips with an axis, bars, histograms, loss curves. CSS classes give the colours.

Strips place their marks in percent of their width, so that text and strokes keep their size on any screen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, isfinite, log10
from typing import TypeAlias

from shared.contracts.pairing import ErrorProfile, HistogramBin, PairShape, ProfileLine

Ends: TypeAlias = tuple[float, float]  # of an interval or a span of time


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that cuts `span` into at most `most` parts."""
    if span <= 0:
        return 1.0
    power = 10.0 ** floor(log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most + 1e-9)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from `low` to `high`."""
    step = nice_step(high - low, most)
    # the small terms keep a tick that floating point puts just outside the range
    first = -floor(-low / step + 1e-9)
    return [round(step * k, 10) for k in range(first, floor(high / step + 1e-9) + 1)]


def place(value: float, low: float, high: float) -> str:
    """A position in percent of the strip's width, clamped to it."""
    share = (value - low) / (high - low) if high > low else 0.0
    return f"{min(1.0, max(0.0, share)) * 100:.2f}%"


def grid(marks: list[float], low: float, high: float, height: int) -> str:
    positions = [place(mark, low, high) for mark in marks]
    return "".join(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height}"/>' for x in positions)


def strip(inner: str, height: int) -> str:
    """An SVG as wide as its container. Screen readers skip it, because the numbers stand beside it as text."""
    return f'<svg class="strip" width="100%" height="{height}" aria-hidden="true">{inner}</svg>'


def axis(marks: list[float], low: float, high: float, unit: str = "") -> str:
    parts = []
    for mark in marks:
        share = (mark - low) / (high - low) if high > low else 0.0
        # labels at the ends must not stick out of the strip
        anchor = "start" if share < 0.04 else "end" if share > 0.96 else "middle"
        parts.append(f'<text x="{place(mark, low, high)}" y="13" text-anchor="{anchor}">{mark:g}{unit}</text>')
    return strip("".join(parts), 18)


BAR_HEIGHT, BAR_LABEL, BAR_VALUE, BARS_WIDTH = 24, 210, 70, 640
LABEL_CHARS = 32


def count_chart(title: str, counts: Mapping[str, int]) -> str:
    """One bar for each count, in the given order; empty without counts. `title` is for screen readers."""
    if not counts:
        return ""
    most = max(counts.values()) or 1
    rows = [count_bar(place, name, count, most) for place, (name, count) in enumerate(counts.items())]
    height = BAR_HEIGHT * len(rows)
    size = f'viewBox="0 0 {BARS_WIDTH} {height}" width="100%" role="img" aria-label="{escape(title, quote=True)}"'
    return f'<svg class="bars" {size}>{"".join(rows)}</svg>'


def count_bar(place: int, name: str, count: int, most: int) -> str:
    top = place * BAR_HEIGHT
    width = (BARS_WIDTH - BAR_LABEL - BAR_VALUE) * count / most
    shown = name if len(name) <= LABEL_CHARS else name[: LABEL_CHARS - 1] + "…"
    label = f'<text x="{BAR_LABEL - 10}" y="{top + 16}" text-anchor="end">{escape(shown)}</text>'
    # a count above zero stays visible
    drawn = max(width, 1 if count else 0)
    bar = f'<rect class="bar" x="{BAR_LABEL}" y="{top + 5}" width="{drawn:.1f}" height="14" rx="2"/>'
    number = f'<text class="number" x="{BAR_LABEL + width + 8:.1f}" y="{top + 16}">{count:,}</text>'
    return label + bar + number


def largest_counts(counts: Mapping[str, int], most: int) -> dict[str, int]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = ranked[most:]
    more = {f"{len(rest)} more": sum(count for _, count in rest)} if rest else {}
    return dict(ranked[:most]) | more


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 176, 40, 10, 8, 38


def bin_values(series: Sequence[Sequence[int]], most: int = 16) -> list[list[HistogramBin]]:
    """Puts every series of whole numbers (from 0) into the same bins of a round width, at most about `most` of them."""
    top = max((max(values) for values in series if values), default=0)
    width = max(1, round(nice_step(top, most)))
    count = top // width + 1
    found = []
    for values in series:
        counts = [0] * count
        for value in values:
            counts[value // width] += 1
        found.append([HistogramBin(low=k * width, high=(k + 1) * width, count=counts[k]) for k in range(count)])
    return found if top else [[HistogramBin(low=0, high=1, count=len(values))] if values else [] for values in series]


def histogram(series: Mapping[str, Sequence[HistogramBin]], unit: str) -> str:
    bins = next((one for one in series.values() if one), None)
    if not bins:
        return ""
    highest = max((one.count for line in series.values() for one in line), default=0) or 1
    last = bins[-1].high
    across = (WIDTH - LEFT - RIGHT) / last
    drawn = []
    for number, (name, line) in enumerate(series.items()):
        for one in line:
            slot = (one.high - one.low) * across
            # the bars of all series share 86 % of a slot, with 7 % free on each side
            width = max(0.6, slot * 0.86 / len(series))
            x = LEFT + one.low * across + slot * 0.07 + number * width
            y = count_to_y(one.count, highest)
            title = f"<title>{one.low} to {one.high - 1}: {one.count}</title>"
            drawn.append(
                f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                f'height="{HEIGHT - BOTTOM - y:.1f}">{title}</rect>'
            )
    frame = [y_tick(mark, highest) for mark in count_ticks(highest)]
    frame += [x_tick(mark, across) for mark in ticks(0, last, 5)]
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    name = f'<text x="{middle:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{unit}</text>'
    label = f"{' and '.join(series)}: number by {unit}"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"'
    return f'<svg class="loss histogram" {size}>{"".join(frame)}{"".join(drawn)}{name}</svg>'


def count_ticks(highest: int) -> list[float]:
    step = max(1, ceil(nice_step(highest, 5)))
    return [float(mark) for mark in range(0, highest + 1, step)]


def count_to_y(count: float, highest: int) -> float:
    return TOP + (1 - count / highest) * (HEIGHT - TOP - BOTTOM)


def y_tick(mark: float, highest: int) -> str:
    y = count_to_y(mark, highest)
    label = f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>'
    return f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>{label}'


def x_tick(mark: float, across: float) -> str:
    x = LEFT + mark * across
    anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="{anchor}">{mark:g}</text>'


PERCENT_MARKS = [0.0, 25.0, 50.0, 75.0, 100.0]
STACK_HEIGHT = 20
ANSWER_KINDS = {
    "correct": "right",
    "wrong": "wrong result",
    "error": "error",
    "timeout": "timeout",
    "unextractable": "no SQL",
}
FAILURE_KINDS = tuple(kind for kind in ANSWER_KINDS if kind != "correct")


@dataclass(frozen=True)
class BarRow:
    """A strip with the text on its left and right."""

    label: str
    strip: str
    value: str


@dataclass(frozen=True)
class BarChart:
    """Rows over one axis; `legend` names the classes of the marks."""

    title: str
    rows: list[BarRow]
    axis: str
    caption: str = ""
    legend: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    title: str
    svg: str
    legend: dict[str, str]


def error_charts(profile: ErrorProfile) -> list[BarChart]:
    total = sum(line.answers for line in profile.outcomes)
    charts = [
        stacked_chart("Answers by outcome", profile.outcomes, tuple(ANSWER_KINDS), total, "Share of all answers."),
        stacked_chart(
            "Not right, by what the gold uses", profile.features, FAILURE_KINDS, None, "Share of the answers."
        ),
    ]
    return [chart for chart in charts if chart.rows]


def stacked_chart(
    title: str, lines: Sequence[ProfileLine], kinds: tuple[str, ...], total: int | None, caption: str
) -> BarChart:
    """Draws one row for each line, in percent of `total` or, if it is None, of the line's answers."""
    rows = []
    used: set[str] = set()
    for line in lines:
        whole = total or line.answers
        parts = [(kind, getattr(line, kind) / whole * 100) for kind in kinds if whole and getattr(line, kind)]
        used |= {kind for kind, _ in parts}
        shown = sum(share for _, share in parts)
        rows.append(BarRow(line.name.replace("_", " "), stacked_strip(parts), value_text(shown, line, total)))
    legend = {kind: name for kind, name in ANSWER_KINDS.items() if kind in used}
    return BarChart(title, rows, axis(PERCENT_MARKS, 0, 100, " %"), caption, legend)


def value_text(share: float, line: ProfileLine, total: int | None) -> str:
    failed = line.answers - line.correct
    return f"{share:.1f} % ({line.answers})" if total else f"{share:.1f} % ({failed}/{line.answers})"


def stacked_strip(parts: Sequence[tuple[str, float]]) -> str:
    drawn, begin = [grid(PERCENT_MARKS, 0, 100, STACK_HEIGHT)], 0.0
    for kind, share in parts:
        drawn.append(f'<rect class="{kind}" x="{place(begin, 0, 100)}" y="4" width="{share:.2f}%" height="12"/>')
        begin += share
    return strip("".join(drawn), STACK_HEIGHT)


def pair_histograms(shape: PairShape) -> list[Figure]:
    found = [
        Figure("Distance of the sides", histogram({"distance": shape.distances}, "tokens"), {}),
        Figure(
            "Length of the sides",
            histogram({"chosen": shape.chosen, "rejected": shape.rejected}, "characters"),
            {"chosen": "chosen", "rejected": "rejected"},
        ),
    ]
    return [one for one in found if one.svg]


def interval_strip(
    value: float | None, interval: Ends | None, marks: list[float], *, kind: str, reference: float | None
) -> str:
    low, high, parts = marks[0], marks[-1], [grid(marks, marks[0], marks[-1], 26)]
    if reference is not None:
        x = place(reference, low, high)
        parts.append(f'<line class="reference" x1="{x}" x2="{x}" y1="0" y2="26"/>')
    if interval is not None:
        ends = f'x1="{place(interval[0], low, high)}" x2="{place(interval[1], low, high)}"'
        parts.append(f'<line class="whisker {kind}" {ends} y1="13" y2="13"/>')
    if value is not None:
        parts.append(f'<circle class="dot {kind}" cx="{place(value, low, high)}" cy="13" r="5"/>')
    return strip("".join(parts), 26)


def difference_marks(intervals: list[Ends | None], values: list[float]) -> list[float]:
    """Ticks, in points, of a range that contains zero, every interval and every value."""
    ends = [-5.0, 5.0, *values, *(x for one in intervals if one is not None for x in one)]
    step = nice_step(max(ends) - min(ends), 6)
    first, last = floor(min(ends) / step), -floor(-max(ends) / step)
    return [round(step * k, 10) for k in range(first, last + 1)]


def span_strip(stage: Ends, shards: Sequence[Ends], wall: float, marks: list[float]) -> str:
    parts = [grid(marks, 0, wall, 18), span_bar("stage", stage, wall)]
    parts += [span_bar("shard", one, wall) for one in shards]
    return strip("".join(parts), 18)


def span_bar(kind: str, span: Ends, wall: float) -> str:
    start, end = span
    width = max(0.25, (end - start) / wall * 100) if wall > 0 else 100.0
    return f'<rect class="{kind}" x="{place(start, 0, wall)}" y="4" width="{width:.2f}%" height="10"/>'


LOSS_HEIGHT, LOSS_LEFT, LOSS_BOTTOM = 170, 44, 22


def loss_chart(curve: list[tuple[int, float]]) -> str:
    """Leaves out points that are not finite; empty without points."""
    points = thinned_points([(step, loss) for step, loss in curve if isfinite(loss)])
    if not points:
        return ""
    values = [loss for _, loss in points]
    last = max(step for step, _ in points) or 1
    low, high = padded_range(min(values), max(values))
    path = " ".join(f"{step_to_x(step, last):.1f},{loss_to_y(loss, low, high):.1f}" for step, loss in points)
    drawn = f'<polyline class="curve" points="{path}"/>'
    # a line of a single point would be invisible
    if len(points) == 1:
        x, y = path.split(",")
        drawn = f'<circle class="dot main" cx="{x}" cy="{y}" r="3"/>'
    frame = [loss_y_tick(mark, low, high) for mark in ticks(low, high, 4)] + [
        loss_x_tick(mark, last) for mark in ticks(0, last, 4)
    ]
    size = f'viewBox="0 0 {WIDTH} {LOSS_HEIGHT}" role="img" aria-label="Training loss by step"'
    return f'<svg class="loss" {size}>{"".join(frame)}{drawn}</svg>'


def thinned_points(points: list[tuple[int, float]], most: int = 300) -> list[tuple[int, float]]:
    stride = max(1, len(points) // most)
    return points if stride == 1 else [*points[:-1:stride], points[-1]]


def padded_range(low: float, high: float) -> tuple[float, float]:
    """A range slightly wider than the values; it begins at zero if that is near."""
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    start = low - margin
    return (0.0 if low >= 0 and start < (high - low) * 0.25 else start), high + margin


def step_to_x(step: float, last: float) -> float:
    return LOSS_LEFT + step / last * (WIDTH - LOSS_LEFT - 10)


def loss_to_y(loss: float, low: float, high: float) -> float:
    return TOP + (high - loss) / (high - low) * (LOSS_HEIGHT - TOP - LOSS_BOTTOM)


def loss_y_tick(mark: float, low: float, high: float) -> str:
    y = f"{loss_to_y(mark, low, high):.1f}"
    label = f'<text x="{LOSS_LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{mark:g}</text>'
    return f'<line class="grid" x1="{LOSS_LEFT}" x2="{WIDTH - 10}" y1="{y}" y2="{y}"/>{label}'


def loss_x_tick(mark: float, last: float) -> str:
    return f'<text x="{step_to_x(mark, last):.1f}" y="{LOSS_HEIGHT - 5}" text-anchor="middle">{mark:g}</text>'
