"""The pair card as one HTML page with its charts: no script, no outside asset, text of others escaped."""

import re
from collections.abc import Sequence
from html import escape

from services.pairing.card import (
    REASONS,
    SAMPLES,
    SHOWN_SUSPECTS,
    PairCardData,
    head,
    labelled,
    probe_sentence,
    refusals,
)
from services.pairing.collect import draw_key
from shared.contracts.pairing import PairShape
from shared.contracts.records import Example, Pair, SuspectGold
from shared.pages.charts import MARK_STYLE, BarChart, Figure, error_charts, pair_histograms

STYLE = """
:root { --paper: #fcfcfa; --ink: #1d1f21; --soft: #5f646b; --rule: #dcdcd6; --panel: #f3f3ee; --main: #1f5a99;
  --base: #80868d; --worse: #b3502a; --right: #2c6e49; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e7e6e1; --soft: #a2a7ae; --rule: #34383d;
  --panel: #1f2226; --main: #7fb3ea; --base: #8d949c; --worse: #e59269; --right: #7cc49a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 1.9rem; margin: 0 0 8px; } h2 { font-size: 1.2rem; margin: 40px 0 10px; }
p { max-width: 84ch; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--ink); }
th, td { padding: 5px 22px 5px 0; } td { border-bottom: 1px solid var(--rule); } .n { text-align: right; }
figure { margin: 0 0 18px; } figcaption, .soft { color: var(--soft); font-size: .84rem; }
.line { display: grid; grid-template-columns: 180px 1fr 150px; gap: 0 16px; align-items: center; font-size: .88rem; }
.value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px 28px; }
svg.strip { display: block; overflow: visible; } svg.histogram { display: block; width: 100%; height: auto; }
svg text { font-size: 11.5px; fill: var(--soft); font-family: inherit; }
.grid { stroke: var(--rule); stroke-width: 1; shape-rendering: crispEdges; }
pre { margin: 0 0 8px; padding: 8px 12px; background: var(--panel); border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: .8rem/1.5 ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; }
@media (max-width: 640px) { .line { grid-template-columns: 1fr auto; } .line .strip { grid-column: 1 / -1; } }
"""


def render_html(made: PairCardData, shape: PairShape) -> str:
    """The whole page. Equal inputs give equal text."""
    parts = [
        f"<h1>Pair card</h1><p>{escape(head(made))}</p>",
        section("Questions", counts("question", labelled(made.tally.named("reason"), REASONS))),
        section("Answers by verdict", counts("verdict", made.tally.verdicts())),
        section("What the weak model gets wrong", *map(bars, error_charts(made.tally.profile()))),
        section("Both sides", shapes(pair_histograms(shape)), paragraph(probe_sentence(made.probe))),
        section("Refused pairs", counts("refused", refusals(made), share=False)),
        samples(made),
        suspects(made.suspects),
    ]
    return page("Pair card", "".join(parts))


def page(title: str, body: str) -> str:
    """An HTML document."""
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"{meta}<title>{title}</title>"
    style = f"<style>{STYLE}{MARK_STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{style}</head>\n<body><main>{body}</main></body></html>\n'


def section(title: str, *parts: str) -> str:
    """A heading with what stands under it."""
    return f"<h2>{escape(title)}</h2>\n{''.join(parts) or paragraph('None.')}\n"


def paragraph(text: str) -> str:
    """Text in a paragraph."""
    return f"<p>{escape(text)}</p>"


def counts(title: str, rows: dict[str, int], *, share: bool = True) -> str:
    """A table of counts, with shares where they add up to a whole."""
    total = sum(rows.values())
    if not total and share:
        return ""
    lines = [
        f'<tr><td>{escape(name)}</td><td class="n">{count}</td>'
        + (f'<td class="n">{100 * count / total:.1f} %</td>' if share else "")
        + "</tr>"
        for name, count in rows.items()
    ]
    columns = f'<th>{escape(title)}</th><th class="n">count</th>' + ('<th class="n">share</th>' if share else "")
    return f"<table><tr>{columns}</tr>{''.join(lines)}</table>"


def legend(kinds: dict[str, str]) -> str:
    """What the colours mean."""
    keys = "".join(f'<span><i class="key {kind}"></i>{escape(name)}</span>' for kind, name in kinds.items())
    return f'<div class="legend">{keys}</div>' if len(kinds) > 1 else ""


def bars(chart: BarChart) -> str:
    """Bars over their axis."""
    lines = [
        f'<div class="line"><span>{escape(row.label)}</span>{row.strip}'
        f'<span class="value">{escape(row.value)}</span></div>'
        for row in chart.rows
    ]
    foot = f'<div class="line"><span></span>{chart.axis}<span></span></div>'
    caption = f"<figcaption>{escape(chart.title)}. {escape(chart.caption)}</figcaption>"
    return f"<figure>{legend(chart.legend)}{''.join(lines)}{foot}{caption}</figure>"


def shapes(found: list[Figure]) -> str:
    """Histograms beside each other."""
    drawn = [
        f"<figure>{one.svg}{legend(one.legend)}<figcaption>{escape(one.title)}</figcaption></figure>" for one in found
    ]
    return f'<div class="beside">{"".join(drawn)}</div>' if drawn else ""


def samples(made: PairCardData) -> str:
    """The same pairs as in the Markdown card."""
    drawn = sorted(made.selected.pairs, key=lambda pair: draw_key(made.command.seed, pair))[:SAMPLES]
    return section("Samples", *(sample(pair, made.examples[pair.example_id]) for pair in drawn)) if drawn else ""


def sample(pair: Pair, example: Example) -> str:
    """One pair as a person reads it."""
    why = one_line(pair.rejected_message or pair.rejected_verdict.value)
    said = f"rejected: {why}; distance {pair.distance} tokens"
    texts = f"<pre>{escape(pair.chosen)}</pre><p class=soft>{escape(said)}</p><pre>{escape(pair.rejected)}</pre>"
    return f"<p><b>{escape(one_line(example.question))}</b></p><p class=soft>chosen</p>{texts}"


def suspects(listed: Sequence[SuspectGold]) -> str:
    """Golds for a human to look at."""
    if not listed:
        return ""
    said = f"{len(listed)} golds that no sample agrees with, while half of the samples agree on one other result."
    shown = [
        f"<p><b>{escape(one_line(one.question or one.example_id))}</b></p><pre>{escape(one.gold or '')}</pre>"
        f"<p class=soft>{one.agreeing} of {one.samples} samples</p><pre>{escape(one.other)}</pre>"
        for one in listed[:SHOWN_SUSPECTS]
    ]
    more = (
        paragraph(f"{len(listed) - SHOWN_SUSPECTS} more in suspect_golds.jsonl") if len(listed) > SHOWN_SUSPECTS else ""
    )
    return section("Suspect golds", paragraph(said), *shown, more)


def one_line(text: str, most: int = 300) -> str:
    """Text of others on one line, cut."""
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= most else line[: most - 1] + "…"
