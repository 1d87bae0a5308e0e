"""The dataset card as one HTML page with its charts."""

from collections.abc import Mapping
from pathlib import Path

from services.synthesis.collecting.card import LEVELS, CardFacts, charts, headline, notes
from shared.pages.charts import count_chart
from shared.pages.render import TextTable, render_page

TEMPLATE = Path(__file__).with_name("card.html.j2")


def render_html(facts: CardFacts, licences: Mapping[str, str]) -> str:
    """Equal facts give equal text."""
    ranked = sorted(facts.rejected.items(), key=lambda item: (-item[1], item[0]))
    titled = {title[0].upper() + title[1:]: counts for title, counts in charts(facts).items()}
    return render_page(
        TEMPLATE,
        headline=headline(facts),
        notes=list(notes(facts, licences)),
        rejected=TextTable(
            ["Gate", "Reason", "Rejected"], [[gate, reason, f"{count:,}"] for (gate, reason), count in ranked], 2
        ),
        charts={title: count_chart(title, counts) for title, counts in titled.items()},
        samples=[one for level in LEVELS for one in facts.samples.get(level, [])],
    )
