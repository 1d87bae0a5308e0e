"""The dataset card as one HTML page with its charts: no script, no outside asset, text of others escaped."""

from collections.abc import Mapping
from html import escape

from services.synthesis.collecting.card import LEVELS, CardFacts, charts, headline, notes
from shared.contracts.records import Example
from shared.pages.charts import count_chart

STYLE = """
:root { --paper: #fcfcfa; --ink: #1d1f21; --soft: #5f646b; --rule: #dcdcd6; --panel: #f3f3ee; --main: #1f5a99; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e7e6e1; --soft: #a2a7ae; --rule: #34383d;
  --panel: #1f2226; --main: #7fb3ea; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 1.9rem; margin: 0 0 8px; } h2 { font-size: 1.2rem; margin: 40px 0 10px; }
p, li { max-width: 84ch; overflow-wrap: anywhere; } .lead { font-size: 1.1rem; } .soft { color: var(--soft); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--ink); }
th, td { padding: 5px 22px 5px 0; } td { border-bottom: 1px solid var(--rule); } .n { text-align: right; }
figure { margin: 0 0 28px; max-width: 720px; } figcaption { font-weight: 600; margin-bottom: 6px; }
svg.bars { display: block; height: auto; } svg text { font-size: 13px; fill: var(--ink); font-family: inherit; }
svg .number { fill: var(--soft); font-variant-numeric: tabular-nums; } svg .bar { fill: var(--main); }
pre { margin: 0 0 18px; padding: 10px 14px; background: var(--panel); border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: .82rem/1.5 ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; }
"""


def render_html(facts: CardFacts, licences: Mapping[str, str]) -> str:
    """The whole page. Equal facts give equal text."""
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes(facts, licences))
    figures = "".join(figure(title, counts) for title, counts in charts(facts).items())
    samples = "".join(sample(one) for level in LEVELS for one in facts.samples.get(level, []))
    body = [
        f'<h1>Dataset card</h1><p class="lead">{escape(headline(facts))}</p><ul>{listed}</ul>',
        f"<h2>Rejected</h2>{rejections(facts)}" if facts.rejected else "",
        f"<h2>What is in it</h2>{figures}",
        f"<h2>Samples</h2>{samples}" if samples else "",
    ]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    scheme = '<meta name="color-scheme" content="light dark">'
    top = f"<head>{meta}{scheme}<title>Dataset card</title><style>{STYLE}</style></head>"
    return f'<!doctype html>\n<html lang="en">{top}\n<body><main>{"".join(body)}</main></body></html>\n'


def figure(title: str, counts: Mapping[str, int]) -> str:
    """A chart with its title."""
    shown = title[0].upper() + title[1:]
    return f"<figure><figcaption>{escape(shown)}</figcaption>{count_chart(shown, counts)}</figure>"


def rejections(facts: CardFacts) -> str:
    """Every gate and reason, the largest first."""
    ranked = sorted(facts.rejected.items(), key=lambda item: (-item[1], item[0]))
    rows = "".join(
        f'<tr><td>{escape(gate)}</td><td>{escape(reason)}</td><td class="n">{count:,}</td></tr>'
        for (gate, reason), count in ranked
    )
    return f'<table><tr><th>gate</th><th>reason</th><th class="n">rejected</th></tr>{rows}</table>'


def sample(example: Example) -> str:
    """One example as a person reads it."""
    more = [("External knowledge", example.evidence), ("Reasoning", example.reasoning)]
    said = "".join(f'<p class="soft">{name}: {escape(text)}</p>' for name, text in more if text)
    where = f'<span class="soft">{escape(example.level)}, {escape(example.domain)}</span>'
    return f"<p><b>{escape(example.question)}</b><br>{where}</p>{said}<pre>{escape(example.gold)}</pre>"
