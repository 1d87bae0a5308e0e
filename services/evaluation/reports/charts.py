"""Charts as inline SVG. Strips place their marks in percent of the width, so that text and strokes keep their size."""

from math import floor, isfinite

from services.evaluation.model import Interval, StageSpan
from shared.pages.charts import axis, grid, nice_step, place, strip, ticks

__all__ = ["axis", "difference_marks", "interval_strip", "loss_chart", "span_strip", "ticks"]


def interval_strip(
    value: float | None, interval: Interval | None, marks: list[float], *, kind: str, reference: float | None
) -> str:
    """A dot with its interval on a grid; the range is that of `marks`; `reference` draws a dashed line."""
    low, high, parts = marks[0], marks[-1], [grid(marks, marks[0], marks[-1], 26)]
    if reference is not None:
        x = place(reference, low, high)
        parts.append(f'<line class="reference" x1="{x}" x2="{x}" y1="0" y2="26"/>')
    if interval is not None:
        ends = f'x1="{place(interval.low, low, high)}" x2="{place(interval.high, low, high)}"'
        parts.append(f'<line class="whisker {kind}" {ends} y1="13" y2="13"/>')
    if value is not None:
        parts.append(f'<circle class="dot {kind}" cx="{place(value, low, high)}" cy="13" r="5"/>')
    return strip("".join(parts), 26)


def difference_marks(intervals: list[Interval | None], values: list[float]) -> list[float]:
    """Ticks of a range, in points, that holds zero with some room, every interval and every value."""
    ends = [-5.0, 5.0, *values, *(x for one in intervals if one is not None for x in (one.low, one.high))]
    step = nice_step(max(ends) - min(ends), 6)
    first, last = floor(min(ends) / step), -floor(-max(ends) / step)
    return [round(step * k, 10) for k in range(first, last + 1)]


def span_strip(stage: StageSpan, wall: float, marks: list[float]) -> str:
    """A stage from first start to last end, its shards darker."""
    parts = [grid(marks, 0, wall, 18), bar("stage", stage.first_start, stage.last_end, wall)]
    parts += [bar("shard", one.start, one.end, wall) for one in stage.spans]
    return strip("".join(parts), 18)


def bar(kind: str, start: float, end: float, wall: float) -> str:
    """A horizontal bar, at least a hairline wide."""
    width = max(0.25, (end - start) / wall * 100) if wall > 0 else 100.0
    return f'<rect class="{kind}" x="{place(start, 0, wall)}" y="4" width="{width:.2f}%" height="10"/>'


WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 170, 44, 22, 8


def loss_chart(curve: list[tuple[int, float]]) -> str:
    """Loss over steps; points that are not finite are left out; empty without points."""
    points = thinned([(step, loss) for step, loss in curve if isfinite(loss)])
    if not points:
        return ""
    values = [loss for _, loss in points]
    last = max(step for step, _ in points) or 1
    low, high = padded(min(values), max(values))
    path = " ".join(f"{across(step, last):.1f},{down(loss, low, high):.1f}" for step, loss in points)
    drawn = f'<polyline class="curve" points="{path}"/>'
    if len(points) == 1:
        x, y = path.split(",")
        drawn = f'<circle class="dot main" cx="{x}" cy="{y}" r="3"/>'
    frame = [y_tick(mark, low, high) for mark in ticks(low, high, 4)] + [
        x_tick(mark, last) for mark in ticks(0, last, 4)
    ]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Training loss by step"'
    return f'<svg class="loss" {size}>{"".join(frame)}{drawn}</svg>'


def thinned(points: list[tuple[int, float]], most: int = 300) -> list[tuple[int, float]]:
    """At most about `most` points, the last one kept."""
    stride = max(1, len(points) // most)
    return points if stride == 1 else [*points[:-1:stride], points[-1]]


def padded(low: float, high: float) -> tuple[float, float]:
    """A range a little wider than the values; zero is in it where it is near."""
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    start = low - margin
    return (0.0 if low >= 0 and start < (high - low) * 0.25 else start), high + margin


def across(step: float, last: float) -> float:
    """Horizontal place of a step."""
    return LEFT + step / last * (WIDTH - LEFT - 10)


def down(loss: float, low: float, high: float) -> float:
    """Vertical place of a loss."""
    return TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM)


def y_tick(mark: float, low: float, high: float) -> str:
    """A grid line with its label."""
    y = f"{down(mark, low, high):.1f}"
    label = f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{mark:g}</text>'
    return f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y}" y2="{y}"/>{label}'


def x_tick(mark: float, last: float) -> str:
    """A label under the curve."""
    return f'<text x="{across(mark, last):.1f}" y="{HEIGHT - 5}" text-anchor="middle">{mark:g}</text>'
