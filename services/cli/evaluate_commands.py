"""`sense evaluate`, `sense compare` and `sense suite`: official prediction files, scored without a stack."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.terminal import JsonOption, console, print_json
from shared.errors import InvalidInputError

if TYPE_CHECKING:
    from services.benchmarks.results import Document
    from services.benchmarks.run import Evaluated, Step

evaluate_commands = typer.Typer()
suite_commands = typer.Typer(help="Test suites: variants of a benchmark's databases.", no_args_is_help=True)
File = Annotated[Path | None, typer.Option(dir_okay=False, show_default=False)]


@evaluate_commands.command()
def evaluate(
    benchmark: Annotated[str, typer.Option(help="spider or bird: whose rules and file formats.")],
    gold: Annotated[Path, typer.Option(help="Golds: a line `SQL<tab>db_id` each, or BIRD's dev.json.")],
    pred: Annotated[Path, typer.Option(help="Predictions: a SQL a line (spider), or BIRD's JSON object.")],
    db: Annotated[Path, typer.Option(help="Folder of databases; with several files a database, a test suite.")],
    tables: Annotated[Path | None, typer.Option(help="Spider's tables.json: foreign keys for exact match.")] = None,
    metrics: Annotated[str | None, typer.Option(help="spider: ex,ts,em; bird: ex,f1,ves,rves.")] = None,
    mode: Annotated[
        str, typer.Option(help="official: as the benchmark's own code, faults included; or strict.")
    ] = "official",
    both: Annotated[bool, typer.Option(help="Score by the other mode too, and say where they differ.")] = True,
    deadline: Annotated[float | None, typer.Option(help="Seconds a prediction may run; golds ten times that.")] = None,
    children: Annotated[int, typer.Option(min=1, max=64, help="Sandbox processes.")] = 2,
    lenient: Annotated[bool, typer.Option("--lenient", help="Score what can be scored; list what is wrong.")] = False,
    keep_distinct: Annotated[bool, typer.Option("--keep-distinct", help="As the official option.")] = False,
    plug_value: Annotated[
        bool, typer.Option("--plug-value", help="As the official option: try the gold's values.")
    ] = False,
    diff: Annotated[Path | None, typer.Option(help="BIRD's dev.json or mini_dev JSON: difficulties.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON.")] = None,
    per_question: Annotated[Path | None, typer.Option(help="Write one JSON object a question.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report that opens in a browser, with every loss.")] = None,
    ves_runs: Annotated[int, typer.Option(min=1, help="Runs of each SQL for VES and R-VES.")] = 100,
) -> None:
    """Score a prediction file as the official evaluators do, with the truth beside it."""
    from services.benchmarks.options import (
        DEADLINES,
        Options,
        checked_benchmark,
        checked_metrics,
        checked_mode,
    )
    from services.benchmarks.run import document_of, evaluate_files
    from services.sandbox.execution.limits import checked_deadline

    name = checked_benchmark(benchmark)
    options = Options(
        benchmark=name,
        gold=gold,
        pred=pred,
        db=db,
        tables=tables,
        metrics=checked_metrics(name, metrics),
        mode=checked_mode(mode),
        both=both,
        deadline_s=checked_deadline(deadline if deadline is not None else DEADLINES[name]),
        children=children,
        lenient=lenient,
        keep_distinct=keep_distinct,
        plug_value=plug_value,
        show_all=per_question is not None,
        ves_runs=ves_runs,
    )
    # Before the evaluation, which can take long.
    check_writable(json_file, per_question, html)
    with progress_lines() as step:
        evaluated = evaluate_files(options, diff, step)
    write_outputs(document_of(options, evaluated), evaluated, json_file, per_question, html)


def check_writable(*paths: Path | None) -> None:
    """Raises InvalidInputError before any work is done."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidInputError(f"{path} cannot be written: there is no folder {path.absolute().parent}")


def write_outputs(
    document: "Document", evaluated: "Evaluated", json_file: Path | None, per_question: Path | None, html: Path | None
) -> None:
    from services.benchmarks.report import render_text

    typer.echo(render_text(document), nl=False)
    if json_file is not None:
        json_file.write_text(json.dumps(document.as_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if per_question is not None:
        lines = (json.dumps(one.line(), ensure_ascii=False) for one in evaluated.questions)
        per_question.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if html is not None:
        from services.benchmarks.report import render_html

        html.write_text(render_html(document, evaluated.questions), encoding="utf-8")


@contextmanager
def progress_lines() -> "Iterator[Step]":
    """One bar for each pass on a terminal; no output elsewhere."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda _name, _total: lambda _count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as progress:

        def step(name: str, total: int) -> "Callable[[int], None]":
            task = progress.add_task(name, total=total)
            return lambda count: progress.advance(task, count)

        yield step


@evaluate_commands.command()
def compare(
    left: Annotated[Path, typer.Argument(help="A per-question file of `sense evaluate`.")],
    right: Annotated[Path, typer.Argument(help="Another one over the same golds.")],
    metric: Annotated[str, typer.Option(help="ex, ts, em, f1, ves or rves.")] = "ex",
    as_json: JsonOption = False,
) -> None:
    """Paired difference of two systems, with a bootstrap interval over databases and McNemar's test."""
    from services.benchmarks.compare import compare_files, comparison_text

    found = compare_files(left, right, metric)
    if as_json:
        print_json(found.as_json())
    else:
        typer.echo(comparison_text(found), nl=False)


@suite_commands.command("build")
def build_suite_command(
    gold: Annotated[Path, typer.Option(help="Golds: a line `SQL<tab>db_id` each, or BIRD's dev.json.")],
    db: Annotated[Path, typer.Option(help="Folder of databases.")],
    out: Annotated[Path, typer.Option(help="A new folder for the suite; give it to `sense evaluate --db`.")],
    pred: Annotated[
        list[Path] | None, typer.Option(help="Prediction files (spider) whose constants count too.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="Test-suite databases for each database.")] = 8,
    seed: Annotated[int, typer.Option(help="Equal seeds and inputs give equal files.")] = 0,
) -> None:
    """Make test-suite databases, so that answers that are right by chance can be told."""
    from services.benchmarks.databases import Databases
    from services.benchmarks.prediction_files import read_golds_of, read_predictions_of
    from services.benchmarks.suites import build_suite

    databases = Databases(db)
    golds = read_golds_of(gold, databases)
    predictions = [sql for path in pred or [] for sql in read_predictions_of(path)]
    with progress_lines() as step:
        progress = step("databases", len({one.db_id for one in golds}))
        built = build_suite(golds, predictions, databases, out, count=count, seed=seed, progress=progress)
    typer.echo(f"{built.databases} databases with {count} test-suite databases each in {out}")
    for name, reason in built.skipped.items():
        typer.echo(f"{name} has none: {reason}")
