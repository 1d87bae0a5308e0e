"""Jobs, events, lists and answers as text and tables for people."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from shared.api.resources import (
    Adapter,
    Artifact,
    DatabaseSummary,
    DatasetSummary,
    Job,
    JobEvent,
    JobSummary,
    KeySummary,
)
from shared.api.sql import SqlAnswer
from shared.catalog.databases import TableCard, ViewCard

STYLES = {"running": "cyan", "succeeded": "green", "done": "green", "failed": "red", "cancelling": "yellow"}
KIB = 1024


def seconds(amount: float | None) -> str:
    """A duration in words, such as `2 min 05 s`."""
    if amount is None:
        return ""
    if amount < 60:
        return f"{amount:.1f} s"
    minutes, rest = divmod(round(amount), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def span(began: float | None, ended: float | None) -> str:
    return "" if began is None else seconds(max(0.0, (ended or time.time()) - began))


def clock(moment: float, form: str = "%Y-%m-%d %H:%M") -> str:
    return time.strftime(form, time.localtime(moment))


def size(count: int) -> str:
    value, unit = float(count), "B"
    for bigger in ("KiB", "MiB", "GiB"):
        if value < KIB:
            break
        value, unit = value / KIB, bigger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column in ("id", "name", "stage"))
    return table


def status_text(status: str) -> Text:
    return Text(status, style=STYLES.get(status, ""))


def jobs_table(jobs: Iterable[JobSummary]) -> Table:
    # Read twice: once for the owners' column, once for the rows.
    jobs = list(jobs)
    owned = any(job.owner for job in jobs)
    columns = ("id", "kind", "name", "status", "shards", "stage", "created", "took")
    table = plain_table(*columns, *(["owner"] if owned else []))
    for job in jobs:
        created = clock(job.created_at)
        shards = f"{job.progress.done}/{job.progress.total}"
        took = span(job.started_at, job.finished_at)
        # Rich would read square brackets in names as markup.
        stage = escape(", ".join(job.stage))
        row = (job.id, job.kind, escape(job.name), status_text(job.status), shards, stage, created, took)
        table.add_row(*row, *([escape(job.owner.name) if job.owner else ""] if owned else []))
    return table


def models_table(models: Iterable[Adapter], served: set[str] | None) -> Table:
    """`served` is None if the engine does not answer."""
    table = plain_table("name", "method", "base", "parent", "size", "job", "served")
    for model in models:
        now = "unknown" if served is None else ("yes" if model.id in served else "no")
        row = (model.id, model.method, model.base, model.parent or "", size(model.weight_bytes), model.job_id, now)
        table.add_row(*(escape(cell) for cell in row))
    return table


def keys_table(keys: Iterable[KeySummary]) -> Table:
    table = plain_table("name", "role", "calls a minute", "limits of its own", "made")
    for key in keys:
        made = clock(key.created_at)
        own = ", ".join(f"{name} {value:g}" for name, value in key.limits.model_dump(exclude_none=True).items())
        table.add_row(escape(key.name), key.role, str(key.per_minute), own, made)
    return table


def counts_text(counts: dict[str, int], most: int = 4) -> str:
    return ", ".join([f"{name} {value}" for name, value in counts.items() if value][:most])


def stages_table(job: Job) -> Table:
    table = plain_table("stage", "status", "shards", "took", "counted")
    for stage in job.stages:
        shards = f"{stage.done}/{stage.total}" + (f", {stage.failed} failed" if stage.failed else "")
        took = span(stage.started_at, stage.finished_at or job.finished_at)
        table.add_row(escape(stage.id), status_text(stage.status), shards, took, escape(counts_text(stage.counts)))
    return table


def job_view(job: Job) -> Group:
    took = span(job.started_at, job.finished_at)
    parts: list[RenderableType] = [
        Text.assemble(f"job {job.id}  {job.kind}  ", job.name, "  ", status_text(job.status), f" {took}")
    ]
    if job.archived:
        parts.append("read from the archive")
    if job.error:
        parts.append(Text(f"{job.error.code}: {job.error.message}", style="red"))
    if job.stages:
        parts.append(stages_table(job))
    parts += [
        Text(f"{artifact.name}: sense artifacts {job.id} {artifact.name} --download .")
        for artifact in job.artifacts
        if artifact.name.startswith("report.")
    ]
    return Group(*parts)


def event_line(event: JobEvent) -> str:
    where = "" if event.stage is None else event.stage if event.shard is None else f"{event.stage}/{event.shard}"
    return f"{clock(event.created_at, '%H:%M:%S')}  {event.name:<22} {where}  {brief(event.data)}".rstrip()


def brief(data: dict[str, Any], most: int = 4) -> str:
    counts = data.get("counts")
    source = counts if isinstance(counts, dict) else data
    hidden = ("name", "job_id", "stage", "shard", "attempt", "retryable")
    plain = {name: value for name, value in source.items() if isinstance(value, int | float | str)}
    return ", ".join([f"{name} {short(value)}" for name, value in plain.items() if name not in hidden][:most])


def short(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def artifacts_table(artifacts: Iterable[Artifact]) -> Table:
    table = plain_table("name", "size", "type")
    for artifact in artifacts:
        table.add_row(escape(artifact.name), size(artifact.size), artifact.content_type.split(";")[0])
    return table


def databases_table(databases: Iterable[DatabaseSummary]) -> Table:
    table = plain_table("id", "name", "size", "tables", "created", "notes")
    for one in databases:
        created = clock(one.created_at)
        notes = f"{len(one.warnings)} warning(s)" if one.warnings else ""
        table.add_row(one.id, escape(one.name), size(one.size), str(one.tables), created, notes)
    return table


def datasets_table(datasets: Iterable[DatasetSummary]) -> Table:
    table = plain_table("name", "version", "format", "policy", "questions", "databases", "ceiling", "created")
    for one in datasets:
        created = clock(one.created_at)
        splits = ", ".join(f"{split} {count}" for split, count in one.splits.items())
        ceiling = "" if one.ceiling is None else f"{100 * one.ceiling:.2f} %"
        table.add_row(
            *(one.name, one.version, one.format, one.policy.value, splits, str(one.databases), ceiling, created)
        )
    return table


def columns_table(table: TableCard | ViewCard) -> Table:
    foreign = table.foreign_keys if isinstance(table, TableCard) else []
    keys = {key.column: f"{key.to_table}.{key.to_column}" for key in foreign}
    about = f"{table.row_count} rows" if isinstance(table, TableCard) else "view"
    shown = Table(title=Text(f"{table.name}  ({about})"), title_justify="left", box=None, pad_edge=False)
    for name in ("column", "type", "key", "samples", "comment"):
        shown.add_column(name)
    for column in table.columns:
        key = "primary" if column.primary_key else keys.get(column.name, "")
        samples = ", ".join(short(value) for value in column.samples)
        shown.add_row(*map(escape, (column.name, column.type, key, samples, column.comment or "")))
    return shown


def rows_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(escape(column))
    for row in rows:
        table.add_row(*[Text("NULL", style="dim") if cell is None else Text(str(cell)) for cell in row])
    return table


def answer_lines(answer: SqlAnswer) -> tuple[list[RenderableType], list[str]]:
    """The parts of an answer for standard output, and its notes for standard error."""
    notes = [f"note: {warning}" for warning in answer.warnings]
    if answer.repaired is not None:
        notes.append(f"repaired; before: {answer.repaired.sql or 'no SQL'} ({answer.repaired.outcome})")
    if answer.sql is None:
        text = answer.samples[0].answer if answer.samples else ""
        return [f"{answer.model} wrote no SQL; its answer:\n{text}"], notes
    shown: list[RenderableType] = [answer.sql]
    if answer.display_sql:
        shown.append(f"\nIn {answer.dialect}:\n{answer.display_sql}\n")
    if answer.outcome not in ("ok", "empty", None):
        shown.append(f"{answer.outcome}: {answer.message}")
    elif (result := answer.result) is not None:
        if result.columns and result.rows:
            shown.append(rows_table(result.columns, result.rows))
        more = ", cut" if result.truncated else ""
        shown.append(f"{result.row_count} row(s){more}, {result.elapsed_ms:.0f} ms")
    return shown, [*notes, answer_summary(answer)]


def answer_summary(answer: SqlAnswer) -> str:
    text = f"{answer.model}, {answer.tokens.completion} tokens, {answer.elapsed_ms / 1000:.1f} s"
    if answer.vote is None:
        return text
    best = next((one for one in answer.samples if one.sql == answer.sql), None)
    drawn = sum(one.count for one in answer.samples)
    return f"{text}; {best.votes if best else 0} of {drawn} samples agree by {answer.vote}"
