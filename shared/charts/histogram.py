"""Histograms: values into bins of a round width, and bins into an SVG."""

from collections.abc import Mapping, Sequence
from math import ceil

from shared.charts.axes import nice_step, ticks
from shared.contracts.pairing import Bin

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 176, 40, 10, 8, 38


def bin_values(series: Sequence[Sequence[int]], most: int = 16) -> list[list[Bin]]:
    """Each series (whole numbers, 0 or more) into the same bins: at most about `most`, of a round width, from 0 on."""
    top = max((max(values) for values in series if values), default=0)
    width = max(1, round(nice_step(top, most)))
    count = top // width + 1
    found = []
    for values in series:
        counts = [0] * count
        for value in values:
            counts[value // width] += 1
        found.append([Bin(low=k * width, high=(k + 1) * width, count=counts[k]) for k in range(count)])
    return found if top else [[Bin(low=0, high=1, count=len(values))] if values else [] for values in series]


def histogram(series: Mapping[str, Sequence[Bin]], unit: str) -> str:
    """Bars beside each other, one colour a series by its name; empty without bins."""
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
            width = max(0.6, slot * 0.86 / len(series))
            x = LEFT + one.low * across + slot * 0.07 + number * width
            y = down(one.count, highest)
            title = f"<title>{one.low} to {one.high - 1}: {one.count}</title>"
            drawn.append(
                f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                f'height="{HEIGHT - BOTTOM - y:.1f}">{title}</rect>'
            )
    frame = [count_tick(mark, highest) for mark in whole_ticks(highest)]
    frame += [value_tick(mark, across) for mark in ticks(0, last, 5)]
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    name = f'<text x="{middle:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{unit}</text>'
    label = f"{' and '.join(series)}: number by {unit}"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"'
    return f'<svg class="loss histogram" {size}>{"".join(frame)}{"".join(drawn)}{name}</svg>'


def whole_ticks(highest: int) -> list[float]:
    """Marks on a scale of counts."""
    step = max(1, ceil(nice_step(highest, 5)))
    return [float(mark) for mark in range(0, highest + 1, step)]


def down(count: float, highest: int) -> float:
    """Vertical place of a count."""
    return TOP + (1 - count / highest) * (HEIGHT - TOP - BOTTOM)


def count_tick(mark: float, highest: int) -> str:
    """A grid line with its label."""
    y = down(mark, highest)
    label = f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>'
    return f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>{label}'


def value_tick(mark: float, across: float) -> str:
    """A label under the bars."""
    x = LEFT + mark * across
    anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="{anchor}">{mark:g}</text>'
