"""An evaluation in a terminal: plain text, at most 110 columns."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from services.evaluation.metrics.aggregate import GroupScore
from services.evaluation.metrics.results import (
    DEPENDS,
    QUIRKS,
    TITLES,
    Document,
    ModeDifference,
    ScoredQuestion,
    first_difference,
    shown,
)
from services.evaluation.reports.charts import axis, interval_strip
from services.evaluation.reports.format import WIDTH, Table, bullets, grid_lines, plain
from services.evaluation.reports.html import environment

SHOWN_QUESTIONS = 8


def render_text(document: Document) -> str:
    """Scores by hardness and by feature, causes of losses, and what the other mode says."""
    setting, summary = document.setting, document.summary
    lines = [f"{setting.benchmark}, {setting.mode} rules: {setting.predictions} against {setting.gold}", "=" * WIDTH]
    lines += bullets(findings(document))
    lines += ["", *grid_lines(score_table("Hardness", setting.metrics, summary.by_hardness, summary.overall))]
    lines += ["", *grid_lines(score_table("Gold uses", setting.metrics, summary.by_feature, None))]
    lines += ["", *grid_lines(count_table("Cause", summary.failures))]
    if document.unreadable:
        lines += ["", *grid_lines(count_table("Beyond the exact-match parser", document.unreadable))]
    return "\n".join(plain(line).rstrip()[:WIDTH] for line in lines) + "\n"


def findings(document: Document) -> list[str]:
    """The sentences above the tables."""
    summary, setting = document.summary, document.setting
    scores = ", ".join(f"{TITLES[name]} {shown(name, summary.overall.scores.get(name))}" for name in setting.metrics)
    count = summary.overall.questions
    found = [f"{scores} over {count} questions."]
    if summary.golds_failed:
        failed = f"{len(summary.golds_failed)} golds do not run ({numbers(summary.golds_failed)})"
        found.append(f"{failed}: no prediction can score above {100 * summary.ceiling:.2f}.")
    else:
        found.append("Every gold runs: the ceiling is 100.")
    if summary.golds_empty and summary.ex_gold_not_empty is not None:
        without = f"without them EX is {shown('ex', summary.ex_gold_not_empty)}"
        found.append(f"{summary.golds_empty} golds return nothing, where any empty result is right: {without}.")
    found += [difference_sentence(document, one) for one in document.differences]
    if setting.suite:
        found.append(setting.suite)
    for name, indexes in document.depends.items():
        found.append(f"{len(indexes)} of {count} questions {DEPENDS[name]} ({numbers(indexes)}).")
    if setting.sqlite:
        found.append(f"Run by SQLite {setting.sqlite}; another version may give other results.")
    return found + [f"Noticed: {problem}" for problem in document.problems[:SHOWN_QUESTIONS]]


def difference_sentence(document: Document, one: ModeDifference) -> str:
    """What the other mode says of one metric, and why."""
    here, there = document.setting.mode, "strict" if document.setting.mode == "official" else "official"
    title, score = TITLES[one.metric], shown(one.metric, one.other_score)
    if not one.only_here and not one.only_there:
        return f"{title} by {there} rules: {score}, the same questions."
    counts = f"{len(one.only_here)} right only by {here} rules, {len(one.only_there)} only by {there} rules"
    reasons = "; ".join(f"{QUIRKS[name]} ({count})" for name, count in one.causes.items())
    return f"{title} by {there} rules: {score}. {counts}. Applies there: {reasons}."


def numbers(indexes: tuple[int, ...]) -> str:
    """Question numbers, the first few."""
    text = ", ".join(map(str, indexes[:SHOWN_QUESTIONS]))
    return f"questions {text}{', …' if len(indexes) > SHOWN_QUESTIONS else ''}"


def score_table(
    title: str, metrics: tuple[str, ...], groups: Mapping[str, GroupScore], overall: GroupScore | None
) -> Table:
    """One row a group, and all together last."""
    rows = [[name, str(one.questions), *cells(metrics, one)] for name, one in groups.items()]
    if overall is not None:
        rows.append(["all", str(overall.questions), *cells(metrics, overall)])
    return Table([title, "Questions", *[TITLES[name] for name in metrics]], rows)


def cells(metrics: tuple[str, ...], one: GroupScore) -> list[str]:
    """The scores of a group."""
    return [shown(name, one.scores.get(name)) for name in metrics]


def count_table(title: str, counts: Mapping[str, int]) -> Table:
    """Names and how often."""
    return Table([title, "Questions"], [[name.replace("_", " "), str(count)] for name, count in counts.items()])


MARKS = [0.0, 25.0, 50.0, 75.0, 100.0]
MOST_LOSSES = 2000
CHARTED = ("ex", "ts", "em", "f1")


def render_html(document: Document, questions: Sequence[ScoredQuestion]) -> str:
    """The whole report."""
    summary, metrics = document.summary, document.setting.metrics
    losses = [one for one in questions if is_lost(one, metrics)]
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
            charts=[metric_chart(name, summary.by_hardness, summary.overall) for name in metrics if name in CHARTED],
            losses=[loss_view(one, metrics) for one in losses[:MOST_LOSSES]],
            left_out=max(len(losses) - MOST_LOSSES, 0),
            count=len(losses),
            quirks=QUIRKS,
            settings=settings_table(document),
        )
    )


def is_lost(one: ScoredQuestion, metrics: Sequence[str]) -> bool:
    """Whether an execution score is not full; the exact match alone is no loss worth a page."""
    scores = [getattr(one.row, name) for name in metrics if name in ("ex", "ts", "f1")] or [one.row.em]
    return any(score is not None and score < 1 for score in scores)


def metric_chart(metric: str, groups: Mapping[str, GroupScore], overall: GroupScore) -> dict[str, object]:
    """A strip a hardness level."""
    rows = [metric_row(metric, name, one) for name, one in [*groups.items(), ("all", overall)]]
    return {"title": TITLES[metric], "rows": rows, "axis": Markup(axis(MARKS, MARKS[0], MARKS[-1], " %"))}


def metric_row(metric: str, name: str, one: GroupScore) -> dict[str, object]:
    """One line of a chart."""
    score = one.scores.get(metric)
    strip = interval_strip(None if score is None else 100 * score, None, MARKS, kind="main", reference=None)
    return {"label": f"{name} ({one.questions})", "strip": Markup(strip), "value": f"{shown(metric, score)} %"}


def loss_view(one: ScoredQuestion, metrics: Sequence[str]) -> dict[str, object]:
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
