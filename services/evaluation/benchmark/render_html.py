"""An evaluation as one HTML file: no script, no outside asset, every text escaped; every loss with its results."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from services.evaluation.benchmark.aggregate import GroupScore
from services.evaluation.benchmark.document import QUIRKS, TITLES, Document, shown
from services.evaluation.benchmark.render_text import count_table, findings, score_table
from services.evaluation.benchmark.scored import ScoredQuestion, first_difference
from services.evaluation.charts import axis, interval_strip
from services.evaluation.render_html import environment
from services.evaluation.text_table import Table

MARKS = [0.0, 25.0, 50.0, 75.0, 100.0]
MOST_LOSSES = 2000
CHARTED = ("ex", "ts", "em", "f1")


def render_html(document: Document, questions: Sequence[ScoredQuestion]) -> str:
    """The whole report."""
    summary, metrics = document.summary, document.setting.metrics
    losses = [one for one in questions if lost(one, metrics)]
    return (
        environment()
        .get_template("benchmark.html.j2")
        .render(
            setting=document.setting,
            findings=findings(document),
            tables=[
                score_table("Hardness", metrics, summary.by_hardness, summary.overall),
                score_table("Gold uses", metrics, summary.by_feature, None),
                score_table("Database", metrics, summary.by_database, None),
                count_table("Cause", summary.failures),
                *([count_table("Beyond the exact-match parser", document.unreadable)] if document.unreadable else []),
            ],
            charts=[chart(name, summary.by_hardness, summary.overall) for name in metrics if name in CHARTED],
            losses=[loss(one, metrics) for one in losses[:MOST_LOSSES]],
            left_out=max(len(losses) - MOST_LOSSES, 0),
            count=len(losses),
            quirks=QUIRKS,
            settings=settings_table(document),
        )
    )


def lost(one: ScoredQuestion, metrics: Sequence[str]) -> bool:
    """Whether an execution score is not full; the exact match alone is no loss worth a page."""
    scores = [getattr(one.row, name) for name in metrics if name in ("ex", "ts", "f1")] or [one.row.em]
    return any(score is not None and score < 1 for score in scores)


def chart(metric: str, groups: Mapping[str, GroupScore], overall: GroupScore) -> dict[str, object]:
    """A strip a hardness level."""
    rows = [row(metric, name, one) for name, one in [*groups.items(), ("all", overall)]]
    return {"title": TITLES[metric], "rows": rows, "axis": Markup(axis(MARKS, MARKS[0], MARKS[-1], " %"))}


def row(metric: str, name: str, one: GroupScore) -> dict[str, object]:
    """One line of a chart."""
    score = one.scores.get(metric)
    strip = interval_strip(None if score is None else 100 * score, None, MARKS, kind="main", reference=None)
    return {"label": f"{name} ({one.questions})", "strip": Markup(strip), "value": f"{shown(metric, score)} %"}


def loss(one: ScoredQuestion, metrics: Sequence[str]) -> dict[str, object]:
    """One question for the page."""
    scores = {TITLES[name]: shown(name, value) for name in metrics if (value := getattr(one.row, name)) is not None}
    return {"it": one, "scores": scores, "difference": first_difference(one.gold_view, one.view)}


def settings_table(document: Document) -> Table:
    """What was evaluated, by content."""
    setting = document.setting
    rows = [
        ["Golds", setting.gold],
        ["SHA-256", setting.gold_sha256],
        ["Predictions", setting.predictions],
        ["SHA-256", setting.predictions_sha256],
        ["Rules", f"{setting.mode} ({setting.policy})"],
        ["Options", ", ".join(name for name, on in setting.options.items() if on) or "none"],
    ]
    return Table(["Setting", "Value"], rows, text_columns=2)
