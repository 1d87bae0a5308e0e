"""`sense experiment factorial`: submits the jobs of an experiment, waits, and prints what they show."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.terminal import FAILED, JsonOption, UrlOption, connect, console, print_json
from shared.files import parse_json_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from services.benchmarks.factorial import CellScore, Contrast, PlannedJob
    from shared.api.resources import Job
    from shared.client.client import SenseClient

experiment_commands = typer.Typer(help="Experiments over several jobs.")
POLL_S = 5.0
QUESTIONS = "report/questions"


@experiment_commands.callback()
def group() -> None:
    """Experiments over several jobs."""


@experiment_commands.command()
def factorial(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="human, strong, seeds, pipeline; - reads stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which jobs it would submit.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Run {human, + strong, + weak, + both} over seeds, each with its control, and say what DPO is worth.

    The same spec finds the same jobs again (for 24 hours), so an interrupted command can simply be repeated.
    """
    from services.benchmarks.factorial import plan_jobs, read_experiment
    from services.cli.job_commands import read_spec

    jobs = list(plan_jobs(read_experiment(read_spec(spec))))
    if dry_run:
        print_json([{"mix": one.mix, "seed": one.seed, "spec": one.spec} for one in jobs])
        return
    with connect(url) as client:
        ended = run_jobs(client, jobs, quiet=as_json)
        failed = [job for job in ended.values() if job.status != "succeeded"]
        print_report(client, jobs, ended, as_json)
    # After the report, which covers the jobs that succeeded.
    if failed:
        raise typer.Exit(FAILED)


def run_jobs(client: "SenseClient", jobs: "list[PlannedJob]", *, quiet: bool) -> dict[str, "Job"]:
    """Submits every job and waits for all. Returns the ended jobs by their plan's key, the failed ones too."""
    out = console(stderr=quiet)
    # Idempotency keys let a repeated command find the jobs of an earlier one.
    ids = {one.key: client.submit(one.spec, idempotency_key=one.key).id for one in jobs}
    out.print(f"{len(ids)} jobs: {', '.join(ids.values())}", markup=False)
    ended: dict[str, Job] = {}
    while len(ended) < len(ids):
        for one in jobs:
            if one.key not in ended and (job := client.job(ids[one.key])).terminal:
                ended[one.key] = job
                why = f": {job.error.message}" if job.error else ""
                out.print(f"{len(ended)}/{len(ids)} {one.mix}, seed {one.seed}: {job.status}{why}", markup=False)
        if len(ended) < len(ids):
            time.sleep(POLL_S)
    return ended


def print_report(client: "SenseClient", jobs: "list[PlannedJob]", ended: dict[str, "Job"], as_json: bool) -> None:
    from services.benchmarks.factorial import cell_scores, contrasts, read_scores

    scores: dict[Any, dict[int, Any]] = {}
    for one in jobs:
        if ended[one.key].status == "succeeded":
            for arm, rows in read_scores(question_lines(client, ended[one.key].id)).items():
                scores.setdefault((one.mix, arm), {})[one.seed] = rows
    cells, found = cell_scores(scores), contrasts(scores)
    if as_json:
        results = {"cells": [one.model_dump() for one in cells], "contrasts": [one.model_dump() for one in found]}
        print_json(results | {"jobs": {one.key: ended[one.key].id for one in jobs}})
    else:
        print_results(cells, found, console())


def question_lines(client: "SenseClient", job_id: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = client.download(job_id, QUESTIONS, Path(folder))
        return parse_json_lines(path.read_bytes())


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def print_results(cells: "Sequence[CellScore]", found: "Sequence[Contrast]", out: "Console") -> None:
    from rich.table import Table

    if not cells:
        out.print("No job succeeded, so there is nothing to compare.")
        return
    table = Table("Test set", "Data", "Seeds", "Execution accuracy, %", title="Cells")
    for cell in cells:
        table.add_row(cell.set, cell.cell, str(cell.seeds), percent(cell.accuracy))
    out.print(table)
    for one in found:
        interval = f"[{percent(one.low)}, {percent(one.high)}]" if one.low is not None else "no interval (one database)"
        seeds = " ".join(f"{100 * value:+.1f}" for value in one.by_seed)
        text = f"{one.set}: {one.name}: {100 * one.mean:+.1f} points, 95 % {interval} over {one.databases} databases"
        out.print(f"{text}, {one.seeds} seeds ({seeds}): {one.verdict}.", markup=False)
    if not any(one.decides for one in found):
        out.print("No job trained by preference (too few pairs?): nothing can be said about DPO.", markup=False)
