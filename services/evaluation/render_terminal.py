"""The report in a terminal: plain text, at most 110 columns."""

from services.evaluation import tables
from services.evaluation.prose import benchmark_sentences
from services.evaluation.report_data import ReportData
from services.evaluation.text_table import WIDTH, Table, bullets, grid_lines, plain


def render_terminal(data: ReportData) -> str:
    """Findings, scores and differences of each set, caveats. Control characters are shown as "?"."""
    lines = [f"Evaluation of {data.job_name} ({data.job_id})", "=" * WIDTH, *bullets(data.findings)]
    for one in data.sets:
        size = tables.set_size(one).rstrip(".")
        lines += ["", f"{one.name}: {size}", "-" * WIDTH]
        benchmark = tables.benchmark_of(data, one.name)
        lines += bullets(benchmark_sentences(benchmark)) if benchmark else []
        for table in (
            *([tables.benchmark_table(benchmark), tables.hardness_table(benchmark)] if benchmark else []),
            tables.score_table(data, one.name),
            tables.sampled_table(data, one.name),
            short(tables.comparison_table(data, one.name)),
            *([tables.failure_table(benchmark)] if benchmark else []),
        ):
            lines += [*grid_lines(table), ""] if table.rows else []
    lines += ["-" * WIDTH, *bullets([*data.caveats, *([data.data_source] if data.data_source else [])])]
    return "\n".join(plain(line).rstrip()[:WIDTH] for line in lines) + "\n"


def short(table: Table) -> Table:
    """The comparison table without the column that has no room here (the findings and the files have it)."""
    kept = [k for k, name in enumerate(table.header) if name != "Smallest effect"]
    rows = [[row[k] for k in kept] for row in table.rows]
    return Table([table.header[k] for k in kept], rows, table.text_columns, table.last_is_text)
