"""A horizontal bar chart of counts as one SVG: names, bars, numbers. Colours are the page's, by class."""

from collections.abc import Mapping
from html import escape

ROW, LABEL, VALUE, WIDTH = 24, 210, 70, 640
LABEL_CHARS = 32


def bar_chart(title: str, counts: Mapping[str, int]) -> str:
    """One bar a count, in the given order; empty without counts. Names are escaped; `title` is for screen readers."""
    if not counts:
        return ""
    most = max(counts.values()) or 1
    rows = [row(place, name, count, most) for place, (name, count) in enumerate(counts.items())]
    height = ROW * len(rows)
    size = f'viewBox="0 0 {WIDTH} {height}" width="100%" role="img" aria-label="{escape(title, quote=True)}"'
    return f'<svg class="bars" {size}>{"".join(rows)}</svg>'


def row(place: int, name: str, count: int, most: int) -> str:
    """A name, its bar and its number."""
    top = place * ROW
    width = (WIDTH - LABEL - VALUE) * count / most
    shown = name if len(name) <= LABEL_CHARS else name[: LABEL_CHARS - 1] + "…"
    label = f'<text x="{LABEL - 10}" y="{top + 16}" text-anchor="end">{escape(shown)}</text>'
    drawn = max(width, 1 if count else 0)
    bar = f'<rect class="bar" x="{LABEL}" y="{top + 5}" width="{drawn:.1f}" height="14" rx="2"/>'
    number = f'<text class="number" x="{LABEL + width + 8:.1f}" y="{top + 16}">{count:,}</text>'
    return label + bar + number


def largest(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """The largest counts first, equal ones by name; what is beyond `most` in one line."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = ranked[most:]
    more = {f"{len(rest)} more": sum(count for _, count in rest)} if rest else {}
    return dict(ranked[:most]) | more
