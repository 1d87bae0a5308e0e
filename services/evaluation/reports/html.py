"""The report as one HTML page."""

from pathlib import Path

from services.evaluation.model import ReportData, SetFacts
from services.evaluation.reports import tables
from services.evaluation.reports.format import accuracy_text, points_text, seconds_text
from services.evaluation.reports.sentences import (
    benchmark_sentences,
    data_sentences,
    pair_sentences,
    wave_sentence,
)
from services.evaluation.scoring.arms import LEVELS
from shared.pages.charts import (
    PERCENT_MARKS,
    BarChart,
    BarRow,
    axis,
    difference_marks,
    error_charts,
    interval_strip,
    loss_chart,
    pair_histograms,
    span_strip,
    ticks,
)
from shared.pages.render import TextTable, render_page

TEMPLATE = Path(__file__).with_name("report.html.j2")


def render_html(data: ReportData) -> str:
    profile, shape = (data.pairs.profile, data.pairs.shape) if data.pairs else (None, None)
    return render_page(
        TEMPLATE,
        data=data,
        sets=[set_view(data, one) for one in data.sets],
        promotion=tables.promotion_table(data),
        training=tables.training_table(data),
        curves=[(one.stage_id, one.method, loss_chart(one.curve)) for one in data.training if one.curve],
        timeline=timeline_chart(data),
        stages=tables.stage_table(data),
        data_lines=data_sentences(data.data) if data.data else [],
        data_tables=data_tables(data),
        pair_lines=pair_sentences(data.pairs) if data.pairs else [],
        pair_tables=pair_tables(data),
        pair_charts=error_charts(profile) if profile else [],
        pair_figures=pair_histograms(shape) if shape else [],
        rounds=tables.round_table(data.rounds),
        wave=tables.wave_table(data.wave) if data.wave else None,
        wave_line=wave_sentence(data.wave) if data.wave else "",
        environment=tables.environment_table(data),
    )


def set_view(data: ReportData, one: SetFacts) -> dict[str, object]:
    benchmark = tables.benchmark_of(data, one.name)
    return {
        "facts": one,
        "title": tables.set_title(one),
        "size": tables.set_size(one),
        "benchmark": benchmark
        and {
            "lines": benchmark_sentences(benchmark),
            "scores": tables.benchmark_table(benchmark),
            "hardness": tables.hardness_table(benchmark),
            "failures": tables.failure_table(benchmark),
        },
        "accuracy": accuracy_chart(data, one.name),
        "difference": difference_chart(data, one.name),
        "scores": tables.score_table(data, one.name),
        "sampled": tables.sampled_table(data, one.name),
        "comparisons": tables.comparison_table(data, one.name),
        "levels": tables.level_table(data, one.name),
        "domains": tables.domain_table(data, one.name),
    }


def accuracy_chart(data: ReportData, set_name: str) -> BarChart:
    scores = tables.scores_of(data, set_name)
    reference = next((one for one in scores if one.arm.id == data.reference_arm), None)
    line = None if reference is None or reference.accuracy is None else reference.accuracy * 100
    rows = []
    for one in scores:
        strip = interval_strip(
            None if one.accuracy is None else one.accuracy * 100,
            (one.interval.low * 100, one.interval.high * 100) if one.interval else None,
            PERCENT_MARKS,
            kind="main" if one.arm.train_steps else "base",
            reference=line,
        )
        rows.append(BarRow(one.arm.title, strip, accuracy_text(one)))
    caption = "Execution accuracy with 95 % interval by bootstrap over databases."
    if reference is not None and line is not None:
        caption += f" The dashed line is {reference.arm.title}."
    return BarChart("", rows, axis(PERCENT_MARKS, 0, 100, " %"), caption)


def difference_chart(data: ReportData, set_name: str) -> BarChart:
    found = tables.comparisons_of(data, set_name)
    intervals = [(one.interval.low, one.interval.high) if one.interval else None for one in found]
    marks = difference_marks(intervals, [one.points for one in found])
    rows = []
    for one, interval in zip(found, intervals, strict=True):
        clear = interval is not None and not interval[0] <= 0 <= interval[1]
        # Only a difference whose interval is clear of zero stands out.
        kind = "base" if not clear else "main" if one.points > 0 else "worse"
        strip = interval_strip(one.points, interval, marks, kind=kind, reference=0.0)
        rows.append(BarRow(f"{one.arm_title} vs {one.other_title}", strip, points_text(one)))
    return BarChart("", rows, axis(marks, marks[0], marks[-1]))


def timeline_chart(data: ReportData) -> BarChart | None:
    if data.timeline is None:
        return None
    wall = data.timeline.wall_seconds
    marks = ticks(0, wall, 6)
    rows = []
    for one in data.timeline.stages:
        shards = [(span.start, span.end) for span in one.spans]
        strip = span_strip((one.first_start, one.last_end), shards, wall, marks)
        rows.append(BarRow(one.stage_id, strip, f"{seconds_text(one.busy_seconds)} busy"))
    return BarChart("", rows, axis(marks, 0, wall, " s"))


def data_tables(data: ReportData) -> list[TextTable]:
    if data.data is None:
        return []
    levels = tables.count_table("Level", data.data.levels, LEVELS)
    return [levels, *count_tables(("Rejected for", data.data.rejected))]


def pair_tables(data: ReportData) -> list[TextTable]:
    if data.pairs is None:
        return []
    counts = count_tables(("Verdict", data.pairs.verdicts), ("Left out because", data.pairs.excluded))
    return [*counts, *tables.error_tables(data.pairs)]


def count_tables(*counts: tuple[str, dict[str, int]]) -> list[TextTable]:
    return [tables.count_table(title, found) for title, found in counts if found]
