"""The pair card as one HTML page with its charts."""

from collections.abc import Mapping
from pathlib import Path

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
from shared.pages.charts import error_charts, pair_histograms
from shared.pages.render import TextTable, render_page

TEMPLATE = Path(__file__).with_name("card.html.j2")
QUESTION_CHARS = 300


def render_html(made: PairCardData, shape: PairShape) -> str:
    """Equal inputs give equal text."""
    # The same pairs as in the Markdown card.
    drawn = sorted(made.selected.pairs, key=lambda pair: draw_key(made.command.seed, pair))[:SAMPLES]
    return render_page(
        TEMPLATE,
        headline=head(made),
        questions=share_table("question", labelled(made.tally.named("reason"), REASONS)),
        verdicts=share_table("verdict", made.tally.verdicts()),
        charts=error_charts(made.tally.profile()),
        figures=pair_histograms(shape),
        probe=probe_sentence(made.probe),
        refused=TextTable(["refused", "count"], [[name, str(count)] for name, count in refusals(made).items()]),
        samples=[
            {
                "question": one_line(made.examples[pair.example_id].question),
                "pair": pair,
                "reason": one_line(pair.rejected_message or pair.rejected_verdict.value),
            }
            for pair in drawn
        ],
        suspects=[
            {"question": one_line(one.question or one.example_id), "suspect": one}
            for one in made.suspects[:SHOWN_SUSPECTS]
        ],
        suspect_count=len(made.suspects),
    )


def share_table(title: str, counts: Mapping[str, int]) -> TextTable:
    total = sum(counts.values())
    rows = [[name, str(count), f"{100 * count / total:.1f} %"] for name, count in counts.items()] if total else []
    return TextTable([title, "count", "share"], rows)


def one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= QUESTION_CHARS else line[: QUESTION_CHARS - 1] + "…"
