"""The report as one HTML file: no script, no outside asset, every text escaped."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from services.evaluation.model import ReportData, SetFacts
from services.evaluation.reports import charts, tables
from services.evaluation.reports.format import Table, accuracy_text, points_text, seconds_text
from services.evaluation.reports.sentences import benchmark_sentences, data_sentences, pair_sentences
from services.evaluation.scoring.arms import LEVELS
from services.evaluation.scoring.rounds import round_table
from services.evaluation.scoring.wave import wave_sentence, wave_table
from shared.pages.charts import MARK_STYLE, error_charts, pair_histograms

RATE_MARKS = [0.0, 25.0, 50.0, 75.0, 100.0]
SHOWN_ROWS, SHOWN_COLUMNS, SHOWN_CELL = 5, 6, 48
Chart = dict[str, object]


@cache
def environment() -> Environment:
    """The templates beside this file, with escaping on."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters["nobreak"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    found.globals.update(cell=cell, SHOWN_ROWS=SHOWN_ROWS, SHOWN_COLUMNS=SHOWN_COLUMNS)
    return found


def render_html(data: ReportData) -> str:
    """The whole report."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            sets=[set_view(data, one) for one in data.sets],
            promotion=tables.promotion_table(data),
            training=tables.training_table(data),
            curves=[
                (one.stage_id, one.method, Markup(charts.loss_chart(one.curve))) for one in data.training if one.curve
            ],
            gantt=gantt(data),
            stages=tables.stage_table(data),
            data_lines=data_sentences(data.data) if data.data else [],
            data_tables=data_tables(data),
            pair_lines=pair_sentences(data.pairs) if data.pairs else [],
            pair_tables=pair_tables(data),
            pair_charts=pair_charts(data),
            pair_figures=pair_figures(data),
            mark_style=Markup(MARK_STYLE),
            rounds=round_table(data.rounds),
            wave=wave_table(data.wave) if data.wave else None,
            wave_line=wave_sentence(data.wave) if data.wave else "",
            environment=tables.environment_table(data),
        )
    )


def set_view(data: ReportData, one: SetFacts) -> dict[str, object]:
    """Charts and tables of one set."""
    return {
        "facts": one,
        "title": tables.set_title(one),
        "size": tables.set_size(one),
        "benchmark": benchmark_view(data, one.name),
        "accuracy": accuracy_chart(data, one.name),
        "difference": difference_chart(data, one.name),
        "scores": tables.score_table(data, one.name),
        "sampled": tables.sampled_table(data, one.name),
        "comparisons": tables.comparison_table(data, one.name),
        "levels": tables.level_table(data, one.name),
        "domains": tables.domain_table(data, one.name),
    }


def benchmark_view(data: ReportData, name: str) -> dict[str, object] | None:
    """What stands beside the scores of a data set."""
    one = tables.benchmark_of(data, name)
    if one is None:
        return None
    return {
        "lines": benchmark_sentences(one),
        "scores": tables.benchmark_table(one),
        "hardness": tables.hardness_table(one),
        "failures": tables.failure_table(one),
    }


def accuracy_chart(data: ReportData, set_name: str) -> Chart:
    """A row an arm: label, strip in percent, value."""
    scores = tables.scores_of(data, set_name)
    known = {one.arm.id: one.accuracy for one in scores}
    reference = known.get(data.reference_arm)
    rows = []
    for one in scores:
        interval = one.interval and one.interval.model_copy(
            update={"low": one.interval.low * 100, "high": one.interval.high * 100}
        )
        strip = charts.interval_strip(
            None if one.accuracy is None else one.accuracy * 100,
            interval,
            RATE_MARKS,
            kind="main" if one.arm.train_steps else "base",
            reference=None if reference is None else reference * 100,
        )
        rows.append({"label": one.arm.title, "strip": Markup(strip), "value": accuracy_text(one)})
    caption = "Execution accuracy with 95 % interval by bootstrap over databases."
    if reference is not None and any(one.arm.id == data.reference_arm for one in scores):
        caption += f" The dashed line is {next(one.arm.title for one in scores if one.arm.id == data.reference_arm)}."
    return {"rows": rows, "axis": Markup(charts.axis(RATE_MARKS, 0, 100, " %")), "caption": caption}


def difference_chart(data: ReportData, set_name: str) -> Chart:
    """A row a comparison, in points around zero."""
    found = tables.comparisons_of(data, set_name)
    marks = charts.difference_marks([one.interval for one in found], [one.points for one in found])
    rows = []
    for one in found:
        clear = one.interval is not None and not one.interval.low <= 0 <= one.interval.high
        kind = "base" if not clear else "main" if one.points > 0 else "worse"
        strip = charts.interval_strip(one.points, one.interval, marks, kind=kind, reference=0.0)
        label = f"{one.arm_title} vs {one.other_title}"
        rows.append({"label": label, "strip": Markup(strip), "value": points_text(one)})
    return {"rows": rows, "axis": Markup(charts.axis(marks, marks[0], marks[-1]))}


def gantt(data: ReportData) -> Chart | None:
    """A row a stage on the job's clock."""
    if data.timeline is None:
        return None
    wall = data.timeline.wall_seconds
    marks = charts.ticks(0, wall, 6)
    rows = [
        {
            "label": one.stage_id,
            "strip": Markup(charts.span_strip(one, wall, marks)),
            "value": f"{seconds_text(one.busy_seconds)} busy",
        }
        for one in data.timeline.stages
    ]
    return {"rows": rows, "axis": Markup(charts.axis(marks, 0, wall, " s"))}


def data_tables(data: ReportData) -> list[Table]:
    """Levels and rejections."""
    given = data.data
    if given is None:
        return []
    return [tables.count_table("Level", given.levels, LEVELS), *count_tables([("Rejected for", given.rejected)])]


def pair_tables(data: ReportData) -> list[Table]:
    """Verdicts of the samples, exclusions, and what the weak model gets wrong."""
    given = data.pairs
    if given is None:
        return []
    counts = count_tables([("Verdict", given.verdicts), ("Left out because", given.excluded)])
    return [*counts, *tables.error_tables(given)]


def pair_charts(data: ReportData) -> list[Chart]:
    """What the weak model gets wrong, as bars."""
    profile = data.pairs.profile if data.pairs else None
    return [
        {
            "rows": [{"label": row.label, "strip": Markup(row.strip), "value": row.value} for row in one.rows],
            "axis": Markup(one.axis),
            "caption": f"{one.title}. {one.caption}",
            "legend": one.legend,
        }
        for one in (error_charts(profile) if profile else [])
    ]


def pair_figures(data: ReportData) -> list[Chart]:
    """Histograms of the pairs' sides."""
    shape = data.pairs.shape if data.pairs else None
    return [
        {"title": one.title, "svg": Markup(one.svg), "legend": one.legend}
        for one in (pair_histograms(shape) if shape else [])
    ]


def count_tables(counts: list[tuple[str, dict[str, int]]]) -> list[Table]:
    """A table for each non-empty dict of counts."""
    return [tables.count_table(title, found) for title, found in counts if found]


def cell(value: str | float | None) -> str:
    """One value of a result, cut short."""
    if value is None:
        return "NULL"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN_CELL else text[: SHOWN_CELL - 1] + "\N{HORIZONTAL ELLIPSIS}"
