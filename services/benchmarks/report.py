"""The evaluation of a prediction file for people: as text in a terminal, and as an HTML page with every loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from services.benchmarks.results import (
    TITLES,
    Document,
    ModeDifference,
    ScoredQuestion,
    first_difference,
    score_text,
)
from services.evaluation.metrics.aggregate import GroupScore
from services.evaluation.metrics.failures import DEPENDS
from services.evaluation.metrics.quirks import QUIRKS
from services.evaluation.reports.format import WIDTH, bullets, grid_lines, plain
from shared.pages.charts import PERCENT_MARKS, BarChart, BarRow, axis, interval_strip
from shared.pages.render import TextTable, render_page

TEMPLATE = Path(__file__).with_name("report.html.j2")
SHOWN_QUESTIONS = 8
SHOWN_LOSSES = 2000
CHARTED = ("ex", "ts", "em", "f1")


def render_text(document: Document) -> str:
    setting = document.setting
    lines = [f"{setting.benchmark}, {setting.mode} rules: {setting.predictions} against {setting.gold}", "=" * WIDTH]
    lines += bullets(findings(document))
    # Scores by database are in the HTML page only.
    by_hardness, by_feature, _by_database, *counts = report_tables(document)
    for table in (by_hardness, by_feature, *counts):
        lines += ["", *grid_lines(table)]
    return "\n".join(plain(line).rstrip()[:WIDTH] for line in lines) + "\n"


def render_html(document: Document, questions: Sequence[ScoredQuestion]) -> str:
    summary, metrics = document.summary, document.setting.metrics
    losses = [one for one in questions if is_lost(one, metrics)]
    return render_page(
        TEMPLATE,
        setting=document.setting,
        findings=findings(document),
        tables=report_tables(document),
        charts=[metric_chart(name, summary.by_hardness, summary.overall) for name in metrics if name in CHARTED],
        losses=[loss_view(one, metrics) for one in losses[:SHOWN_LOSSES]],
        left_out=max(len(losses) - SHOWN_LOSSES, 0),
        count=len(losses),
        quirks=QUIRKS,
        settings=settings_table(document),
    )


def findings(document: Document) -> list[str]:
    summary, setting = document.summary, document.setting
    scores = ", ".join(
        f"{TITLES[name]} {score_text(name, summary.overall.scores.get(name))}" for name in setting.metrics
    )
    count = summary.overall.questions
    found = [f"{scores} over {count} questions."]
    if summary.golds_failed:
        failed = f"{len(summary.golds_failed)} golds do not run ({question_numbers(summary.golds_failed)})"
        found.append(f"{failed}: no prediction can score above {100 * summary.ceiling:.2f}.")
    else:
        found.append("Every gold runs: the ceiling is 100.")
    if summary.golds_empty and summary.ex_gold_not_empty is not None:
        without = f"without them EX is {score_text('ex', summary.ex_gold_not_empty)}"
        found.append(f"{summary.golds_empty} golds return nothing, where any empty result is right: {without}.")
    found += [difference_sentence(document, one) for one in document.differences]
    if setting.suite:
        found.append(setting.suite)
    for name, indexes in document.depends.items():
        found.append(f"{len(indexes)} of {count} questions {DEPENDS[name]} ({question_numbers(indexes)}).")
    if setting.sqlite:
        found.append(f"Run by SQLite {setting.sqlite}; another version may give other results.")
    return found + [f"Noticed: {problem}" for problem in document.problems[:SHOWN_QUESTIONS]]


def difference_sentence(document: Document, one: ModeDifference) -> str:
    here, there = document.setting.mode, "strict" if document.setting.mode == "official" else "official"
    title, score = TITLES[one.metric], score_text(one.metric, one.other_score)
    if not one.only_here and not one.only_there:
        return f"{title} by {there} rules: {score}, the same questions."
    counts = f"{len(one.only_here)} right only by {here} rules, {len(one.only_there)} only by {there} rules"
    reasons = "; ".join(f"{QUIRKS[name]} ({count})" for name, count in one.causes.items())
    return f"{title} by {there} rules: {score}. {counts}. Applies there: {reasons}."


def question_numbers(indexes: tuple[int, ...]) -> str:
    text = ", ".join(map(str, indexes[:SHOWN_QUESTIONS]))
    return f"questions {text}{', …' if len(indexes) > SHOWN_QUESTIONS else ''}"


def report_tables(document: Document) -> list[TextTable]:
    summary, metrics = document.summary, document.setting.metrics
    unreadable = [count_table("Beyond the exact-match parser", document.unreadable)] if document.unreadable else []
    return [
        score_table("Hardness", metrics, {**summary.by_hardness, "all": summary.overall}),
        score_table("Gold uses", metrics, summary.by_feature),
        score_table("Database", metrics, summary.by_database),
        count_table("Cause", summary.failures),
        *unreadable,
    ]


def score_table(title: str, metrics: tuple[str, ...], groups: Mapping[str, GroupScore]) -> TextTable:
    rows = [
        [name, str(one.questions), *(score_text(metric, one.scores.get(metric)) for metric in metrics)]
        for name, one in groups.items()
    ]
    return TextTable([title, "Questions", *[TITLES[name] for name in metrics]], rows)


def count_table(title: str, counts: Mapping[str, int]) -> TextTable:
    return TextTable([title, "Questions"], [[name.replace("_", " "), str(count)] for name, count in counts.items()])


def settings_table(document: Document) -> TextTable:
    setting = document.setting
    rows = [
        ["Golds", setting.gold],
        ["SHA-256", setting.gold_sha256],
        ["Predictions", setting.predictions],
        ["SHA-256", setting.predictions_sha256],
        ["Rules", f"{setting.mode} ({setting.policy})"],
        ["Options", ", ".join(name for name, on in setting.options.items() if on) or "none"],
    ]
    return TextTable(["Setting", "Value"], rows, text_columns=2)


def metric_chart(metric: str, groups: Mapping[str, GroupScore], overall: GroupScore) -> BarChart:
    rows = []
    for name, one in [*groups.items(), ("all", overall)]:
        score = one.scores.get(metric)
        percent = None if score is None else 100 * score
        strip = interval_strip(percent, None, PERCENT_MARKS, kind="main", reference=None)
        rows.append(BarRow(f"{name} ({one.questions})", strip, f"{score_text(metric, score)} %"))
    return BarChart(TITLES[metric], rows, axis(PERCENT_MARKS, 0, 100, " %"))


def is_lost(one: ScoredQuestion, metrics: Sequence[str]) -> bool:
    """Whether an execution score is below 1; exact match counts only where no other metric was scored."""
    scores = [getattr(one.row, name) for name in metrics if name in ("ex", "ts", "f1")] or [one.row.em]
    return any(score is not None and score < 1 for score in scores)


def loss_view(one: ScoredQuestion, metrics: Sequence[str]) -> dict[str, object]:
    values = {name: getattr(one.row, name) for name in metrics}
    scores = {TITLES[name]: score_text(name, value) for name, value in values.items() if value is not None}
    return {"it": one, "scores": scores, "difference": first_difference(one.gold_view, one.view)}
