"""Jobs, events, artifacts and results as tables for people."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
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
from shared.catalog.databases import TableCard, ViewCard

STYLES = {"running": "cyan", "succeeded": "green", "done": "green", "failed": "red", "cancelling": "yellow"}
KIB = 1024


def seconds(amount: float | None) -> str:
    """A duration as people say it."""
    if amount is None:
        return ""
    if amount < 60:
        return f"{amount:.1f} s"
    minutes, rest = divmod(round(amount), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def span(began: float | None, ended: float | None) -> str:
    """How long something took, or has taken until now."""
    return "" if began is None else seconds(max(0.0, (ended or time.time()) - began))


def size(count: int) -> str:
    """Bytes as people say them."""
    value, unit = float(count), "B"
    for bigger in ("KiB", "MiB", "GiB"):
        if value < KIB:
            break
        value, unit = value / KIB, bigger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def plain_table(*columns: str) -> Table:
    """A table without boxes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column in ("id", "name", "stage"))
    return table


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(status, style=STYLES.get(status, ""))


def jobs_table(jobs: Iterable[JobSummary]) -> Table:
    """One line a job; whose it is, where any is somebody's."""
    jobs = list(jobs)
    owned = any(job.owner for job in jobs)
    columns = ("id", "kind", "name", "status", "shards", "stage", "created", "took")
    table = plain_table(*columns, *(["owner"] if owned else []))
    for job in jobs:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created_at))
        shards = f"{job.progress.done}/{job.progress.total}"
        took = span(job.started_at, job.finished_at)
        stage = escape(", ".join(job.stage))
        row = (job.id, job.kind, escape(job.name), status_text(job.status), shards, stage, created, took)
        table.add_row(*row, *([escape(job.owner.name) if job.owner else ""] if owned else []))
    return table


def models_table(models: Iterable[Adapter], served: set[str] | None) -> Table:
    """One line a model; `served` is None where the engine does not answer."""
    table = plain_table("name", "method", "base", "parent", "size", "job", "served")
    for model in models:
        now = "unknown" if served is None else ("yes" if model.id in served else "no")
        row = (model.id, model.method, model.base, model.parent or "", size(model.weight_bytes), model.job_id, now)
        table.add_row(*(escape(cell) for cell in row))
    return table


def keys_table(keys: Iterable[KeySummary]) -> Table:
    """One line a key."""
    table = plain_table("name", "role", "calls a minute", "limits of its own", "made")
    for key in keys:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created_at))
        own = ", ".join(f"{name} {value:g}" for name, value in key.limits.model_dump(exclude_none=True).items())
        table.add_row(escape(key.name), key.role, str(key.per_minute), own, made)
    return table


def counts_text(counts: dict[str, int], most: int = 4) -> str:
    """The first counts that are not zero."""
    return ", ".join([f"{name} {value}" for name, value in counts.items() if value][:most])


def stages_table(job: Job) -> Table:
    """One line a stage that has begun; the waiting ones are counted by the caller."""
    table = plain_table("stage", "status", "shards", "took", "counted")
    for stage in job.stages:
        shards = f"{stage.done}/{stage.total}" + (f", {stage.failed} failed" if stage.failed else "")
        took = span(stage.started_at, stage.finished_at or job.finished_at)
        table.add_row(escape(stage.id), status_text(stage.status), shards, took, escape(counts_text(stage.counts)))
    return table


def print_job(job: Job, out: Console) -> None:
    """A whole job."""
    out.print(
        Text.assemble(f"job {job.id}  {job.kind}  ", job.name, "  ", status_text(job.status)),
        span(job.started_at, job.finished_at),
    )
    if job.archived:
        out.print("read from the archive")
    if job.error:
        out.print(Text(f"{job.error.code}: {job.error.message}", style="red"))
    if job.stages:
        out.print(stages_table(job))
    for artifact in job.artifacts:
        if artifact.name.startswith("report."):
            out.print(Text(f"{artifact.name}: sense artifacts {job.id} {artifact.name} --download ."))


def print_event(event: JobEvent, out: Console) -> None:
    """One line an event."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.created_at))
    where = "" if event.stage is None else event.stage if event.shard is None else f"{event.stage}/{event.shard}"
    out.print(Text(f"{clock}  {event.name:<22} {where}  {brief(event.data)}".rstrip()))


def brief(data: dict[str, Any], most: int = 4) -> str:
    """The plain values of an event, the counts of a fact first."""
    counts = data.get("counts")
    source = counts if isinstance(counts, dict) else data
    hidden = ("name", "job_id", "stage", "shard", "attempt", "retryable")
    plain = {name: value for name, value in source.items() if isinstance(value, int | float | str)}
    return ", ".join([f"{name} {short(value)}" for name, value in plain.items() if name not in hidden][:most])


def short(value: float | str) -> str:
    """A number with four digits, or a text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def artifacts_table(artifacts: Iterable[Artifact]) -> Table:
    """One line an artifact."""
    table = plain_table("name", "size", "type")
    for artifact in artifacts:
        table.add_row(escape(artifact.name), size(artifact.size), artifact.content_type.split(";")[0])
    return table


def databases_table(databases: Iterable[DatabaseSummary]) -> Table:
    """One line a database."""
    table = plain_table("id", "name", "size", "tables", "created", "notes")
    for one in databases:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_at))
        notes = f"{len(one.warnings)} warning(s)" if one.warnings else ""
        table.add_row(one.id, escape(one.name), size(one.size), str(one.tables), created, notes)
    return table


def datasets_table(datasets: Iterable[DatasetSummary]) -> Table:
    """One line a data set."""
    table = plain_table("name", "version", "format", "policy", "questions", "databases", "ceiling", "created")
    for one in datasets:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_at))
        splits = ", ".join(f"{split} {count}" for split, count in one.splits.items())
        ceiling = "" if one.ceiling is None else f"{100 * one.ceiling:.2f} %"
        table.add_row(
            *(one.name, one.version, one.format, one.policy.value, splits, str(one.databases), ceiling, created)
        )
    return table


def columns_table(table: TableCard | ViewCard) -> Table:
    """One line a column of a database's table or view."""
    foreign = table.foreign_keys if isinstance(table, TableCard) else []
    keys = {key.column: f"{key.to_table}.{key.to_column}" for key in foreign}
    about = f"{table.row_count} rows" if isinstance(table, TableCard) else "view"
    shown = Table(title=Text(f"{table.name}  ({about})"), title_justify="left", box=None, pad_edge=False)
    for name in ("column", "type", "key", "samples", "comment"):
        shown.add_column(name)
    for column in table.columns:
        key = "primary" if column.primary_key else keys.get(column.name, "")
        samples = ", ".join(short(value) if isinstance(value, float) else str(value) for value in column.samples)
        shown.add_row(*map(escape, (column.name, column.type, key, samples, column.comment or "")))
    return shown


def rows_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A SQL result."""
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(escape(column))
    for row in rows:
        table.add_row(*[Text("NULL", style="dim") if cell is None else Text(str(cell)) for cell in row])
    return table
