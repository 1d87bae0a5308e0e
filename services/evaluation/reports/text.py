"""The report as Markdown, and as plain text for a terminal."""

import re

from services.evaluation.model import CaseAnswer, CaseStudy, ReportData
from services.evaluation.reports import tables
from services.evaluation.reports.format import WIDTH, bullets, grid_lines, plain
from services.evaluation.reports.sentences import benchmark_sentences, data_sentences, pair_sentences, wave_sentence
from services.evaluation.scoring.arms import LEVELS
from shared.pages.render import TextTable


def render_markdown(data: ReportData) -> str:
    """Leaves out the tables by domain and the small result tables, which the HTML page has."""
    parts = [f"# Evaluation of {inline(data.job_name)}", f"Job {inline(data.job_id)}", listed(data.findings)]
    for one in data.sets:
        parts += set_parts(data, one.name)
    parts += promotion_parts(data) + case_parts(data) + origin_parts(data) + run_parts(data)
    parts += ["## How to read this", listed(data.caveats)]
    if data.environment:
        parts.append(table_text(tables.environment_table(data)))
    return "\n\n".join(part for part in parts if part) + "\n"


def set_parts(data: ReportData, name: str) -> list[str]:
    size = next(one for one in data.sets if one.name == name)
    parts = [f"## {inline(tables.set_title(size))}", tables.set_size(size)]
    benchmark = tables.benchmark_of(data, name)
    if benchmark is not None:
        parts += [listed(benchmark_sentences(benchmark)), table_text(tables.benchmark_table(benchmark))]
    if (greedy := tables.score_table(data, name)).rows:
        parts.append(table_text(greedy))
    if (sampled := tables.sampled_table(data, name)).rows:
        parts += ["Sampled answers:", table_text(sampled)]
    if (differences := tables.comparison_table(data, name)).rows:
        parts += ["Paired differences, in points:", table_text(differences)]
    if benchmark is None:
        return [*parts, "By level:", table_text(tables.level_table(data, name))]
    by_hardness = ["By hardness:", table_text(tables.hardness_table(benchmark))]
    return [*parts, *by_hardness, "Causes of what is wrong:", table_text(tables.failure_table(benchmark))]


def promotion_parts(data: ReportData) -> list[str]:
    parts = ["## Credit and promotion", inline(data.credit)]
    if data.promotion is not None:
        parts += [inline(data.promotion.reason), table_text(tables.promotion_table(data))]
    return parts


def case_parts(data: ReportData) -> list[str]:
    if data.case_arms is None:
        return []
    arm, other = data.case_arms
    parts = [f"## Where {inline(arm)} and {inline(other)} part"]
    for kind, title in (("win", "Wins"), ("loss", "Losses")):
        cases = [case for case in data.cases if case.kind == kind]
        parts.append(f"### {title} of {inline(arm)} ({len(cases)} shown)")
        parts += [case_text(k, case) for k, case in enumerate(cases, 1)] or ["None."]
    return parts


def case_text(number: int, case: CaseStudy) -> str:
    one = case.example
    where = f"{case.set_name}, {one.domain}, {one.level}, database {one.database_id}"
    head = f"**{number}. {inline(case.example.question)}** ({inline(where)})"
    return "\n\n".join([head, "Gold:", fenced(case.example.gold), *answer_text(case.arm), *answer_text(case.other)])


def answer_text(answer: CaseAnswer) -> list[str]:
    note = f": {inline(answer.message)}" if answer.message else ""
    head = f"{inline(answer.arm_title)} - {answer.verdict.value} ({answer.outcome.value}{note}):"
    return [head, fenced(answer.sql) if answer.sql is not None else "No SQL could be extracted."]


def origin_parts(data: ReportData) -> list[str]:
    parts: list[str] = []
    if data.data is not None:
        parts += ["## Data", inline(data.data_source or ""), listed(data_sentences(data.data))]
        parts += [table_text(tables.count_table("Rejected for", data.data.rejected)) if data.data.rejected else ""]
        parts += [table_text(tables.count_table("Level", data.data.levels, LEVELS))]
    if data.wave is not None:
        parts += ["## The second wave", inline(wave_sentence(data.wave)), table_text(tables.wave_table(data.wave))]
    if data.pairs is not None:
        parts += ["## Preference pairs", inline(data.pair_note or ""), listed(pair_sentences(data.pairs))]
        parts += [table_text(tables.count_table("Verdict", data.pairs.verdicts))]
        parts += [
            table_text(tables.count_table("Left out because", data.pairs.excluded)) if data.pairs.excluded else ""
        ]
        parts += [table_text(one) for one in tables.error_tables(data.pairs)]
        parts += [table_text(one) for one in tables.shape_tables(data.pairs)]
    if data.rounds:
        parts += ["## Rounds of preference training", table_text(tables.round_table(data.rounds))]
    return parts


def run_parts(data: ReportData) -> list[str]:
    parts: list[str] = []
    if data.training:
        parts += ["## Training", table_text(tables.training_table(data))]
    if data.timeline is not None:
        parts += ["## Timeline", listed(data.timeline.sentences), table_text(tables.stage_table(data))]
    return parts


def inline(text: str) -> str:
    """One line of text that neither Markdown nor HTML interprets."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", flat)


def fenced(sql: str) -> str:
    """A code block with a fence longer than any run of backticks inside."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", sql)), default=0))
    return f"{fence}sql\n{sql}\n{fence}"


def listed(lines: list[str]) -> str:
    return "\n".join(f"- {inline(line)}" for line in lines)


def table_text(table: TextTable) -> str:
    rule = ["---:" if table.is_number(k) else "---" for k in range(len(table.header))]
    rows = [[inline(cell) for cell in row] for row in [table.header, *table.rows]]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


def render_terminal(data: ReportData) -> str:
    """Findings, scores, differences and caveats; control characters become "?"."""
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


def short(table: TextTable) -> TextTable:
    kept = [k for k, name in enumerate(table.header) if name != "Smallest effect"]
    rows = [[row[k] for k in kept] for row in table.rows]
    return TextTable([table.header[k] for k in kept], rows, table.text_columns, table.last_is_text)
