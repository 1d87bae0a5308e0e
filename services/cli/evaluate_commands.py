"""`sense evaluate` and `sense compare`: prediction files in the official formats, scored without a stack."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.terminal import JsonOption, console, print_json
from shared.errors import InvalidInputError, SenseError

if TYPE_CHECKING:
    from services.benchmarks.databases import Databases
    from services.benchmarks.options import Options
    from services.benchmarks.prediction_files import PairedFiles
    from services.benchmarks.run import Evaluated, Step
    from services.evaluation.metrics.results import Document

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
    check_writable(json_file, per_question, html)
    evaluated = run(options, diff)
    document = as_document(options, evaluated)
    write_outputs(document, evaluated, json_file, per_question, html)


def run(options: "Options", diff: Path | None) -> "Evaluated":
    """Reads the files and runs everything, with progress on standard error."""
    from services.benchmarks.databases import Databases
    from services.benchmarks.prediction_files import read_inputs
    from services.benchmarks.run import Evaluation

    databases = Databases(options.db)
    paired, levels = read_inputs(options, databases, diff)
    paired = without_unusable(options, paired, databases)
    if not paired.pairs:
        raise InvalidInputError(f"no question of {options.gold} can be scored; run without --lenient to see why")
    with progress_lines() as step:
        return Evaluation(options, levels, paired, databases, step).run()


def without_unusable(options: "Options", paired: "PairedFiles", databases: "Databases") -> "PairedFiles":
    """The questions on databases that can be opened, before anything runs; the others are listed.

    Raises InvalidInputError naming the first file that cannot be used, unless lenient.
    """
    from services.sandbox.execution.database_files import check_database_file

    unusable: dict[str, str] = {}
    for name in dict.fromkeys(pair.db_id for pair in paired.pairs):
        try:
            for path in databases.suite(name) if "ts" in options.metrics else [databases.main(name)]:
                check_database_file(path)
        except SenseError as error:
            if not options.lenient:
                raise InvalidInputError(f"{error.message.rstrip('.')}; --lenient leaves its questions out") from error
            unusable[name] = error.message
    return paired.without(unusable, options.gold)


def as_document(options: "Options", evaluated: "Evaluated") -> "Document":
    """The result with what was asked for."""
    import apsw

    from services.evaluation.metrics.results import Setting, make_document

    setting = Setting(
        benchmark=options.benchmark,
        mode=options.mode,
        metrics=options.metrics,
        gold=options.gold.name,
        predictions=options.pred.name,
        gold_sha256=sha256(options.gold.read_bytes()).hexdigest(),
        predictions_sha256=sha256(options.pred.read_bytes()).hexdigest(),
        policy=options.official_policy.value if options.mode == "official" else "strict",
        options={"keep_distinct": options.keep_distinct, "plug_value": options.plug_value},
        suite=generated_suite(options.db),
        sqlite=apsw.sqlite_lib_version(),
    )
    return make_document(setting, evaluated.questions, [*evaluated.oddities, *map(str, evaluated.problems)])


def generated_suite(folder: Path) -> str | None:
    """The label of a test suite that `sense suite build` made; its TS is never the official one."""
    from services.benchmarks.databases import SUITE_FILE

    try:
        label = json.loads((folder / SUITE_FILE).read_text(encoding="utf-8"))["label"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(label)


def check_writable(*paths: Path | None) -> None:
    """Asked before the work, not after it. Raises InvalidInputError."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidInputError(f"{path} cannot be written: there is no folder {path.absolute().parent}")


def write_outputs(
    document: "Document", evaluated: "Evaluated", json_file: Path | None, per_question: Path | None, html: Path | None
) -> None:
    """The table on standard output, and the files that were asked for."""
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
    """One bar a pass on a terminal; nothing where nobody watches."""
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
    count: Annotated[int, typer.Option(min=1, max=100, help="Neighbours a database.")] = 8,
    seed: Annotated[int, typer.Option(help="Equal seeds and inputs give equal files.")] = 0,
) -> None:
    """Make neighbour databases, so that answers that are right by chance can be told."""
    from services.benchmarks.databases import Databases
    from services.benchmarks.prediction_files import read_golds_of, read_predictions_of
    from services.benchmarks.suites import build_suite

    databases = Databases(db)
    golds = read_golds_of(gold, databases)
    predictions = [sql for path in pred or [] for sql in read_predictions_of(path)]
    with progress_lines() as step:
        progress = step("databases", len({one.db_id for one in golds}))
        built = build_suite(golds, predictions, databases, out, count=count, seed=seed, progress=progress)
    typer.echo(f"{built.databases} databases with {count} neighbours each in {out}")
    for name, reason in built.skipped.items():
        typer.echo(f"{name} has none: {reason}")
