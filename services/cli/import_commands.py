"""`sense import`: a benchmark or your own questions as a dataset."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.evaluate_commands import progress_lines
from services.cli.terminal import JsonOption, UrlOption, connect, console, print_json
from shared.errors import InvalidInputError

if TYPE_CHECKING:
    from shared.contracts.datasets import DatasetHeader, GoldFault, GoldHealth
    from shared.contracts.records import Example

import_commands = typer.Typer()
SHOWN = 10


@import_commands.command("import")
def import_dataset(
    format_name: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help="spider, spider-syn, spider-dk, spider-realistic, bird, bird-mini or custom."
        ),
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The benchmark's folder; custom: a JSONL file.")],
    name: Annotated[str, typer.Option(help="The dataset's name.", show_default=False)] = "",
    split: Annotated[str | None, typer.Option(help="train, dev or test; default dev, custom: all.")] = None,
    db: Annotated[list[Path] | None, typer.Option(help="A folder of databases; may be given again.")] = None,
    tables: Annotated[Path | None, typer.Option(help="Spider's tables.json, where it is elsewhere.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence to state, where it is another.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only run the golds and report; needs no stack.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="A missing database or a gold file that differs is an error.")
    ] = False,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Leave out and list questions on databases that cannot be read.")
    ] = False,
    children: Annotated[int, typer.Option(min=1, max=64, help="Sandbox processes.")] = 2,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Bring a benchmark, or your own questions, into the stack: golds are run first."""
    from services.benchmarks.importing.dataset import read_dataset, upload
    from services.benchmarks.importing.source import ImportRequest, checked_format

    # Nothing is stored with --check, so any valid name will do.
    checked = check_name(name or "check") if check else check_name(name)
    request = ImportRequest(checked_format(format_name), path, split, limit, tuple(db or ()), tables, strict, lenient)
    with progress_lines() as step:
        head, examples, files = read_dataset(request, checked, licence, children, step)
    # With --json, standard output holds nothing but the JSON.
    out = console(stderr=as_json)
    if not as_json or not check:
        for line in report_lines(head, examples):
            out.print(line, markup=False)
    if check:
        if as_json:
            print_json(check_json(head, examples))
        return
    with connect(url) as client, progress_lines() as step:
        stored = upload(client, head, examples, files, step("databases", len(files)))
    if as_json:
        print_json(stored.model_dump(mode="json"))
    else:
        out.print(f"dataset {stored.name}@{stored.version} is stored: {stored.questions} questions", markup=False)


def check_name(name: str) -> str:
    """Raises InvalidInputError for what is no name of a dataset."""
    from shared.contracts.datasets import DATASET_NAME

    if not re.fullmatch(DATASET_NAME, name):
        fault = f"{name!r} is no name for a dataset" if name else "the dataset needs a name"
        raise InvalidInputError(f"{fault}: give --name with small letters, digits, dots and dashes")
    return name


def check_json(head: "DatasetHeader", examples: "list[Example]") -> dict[str, object]:
    return {
        **head.model_dump(mode="json"),
        "questions": len(examples),
        "databases": len({one.database_id for one in examples}),
        "splits": dict(Counter(one.split for one in examples)),
        "hardness": dict(Counter(one.hardness or "not stated" for one in examples)),
        "ceiling": round(head.health.ceiling, 6) if head.health else None,
    }


def report_lines(head: "DatasetHeader", examples: "Sequence[Example]") -> Iterator[str]:
    splits = ", ".join(f"{name} {count}" for name, count in sorted(Counter(one.split for one in examples).items()))
    databases = len({one.database_id for one in examples})
    yield f"{len(examples)} questions ({splits}) over {databases} databases; format {head.format}, {head.licence}"
    for name, sha in head.sources.items():
        yield f"{name}: SHA-256 {sha}"
    if head.format != "custom":
        yield f"version: {head.release or 'unknown'}"
    yield f"hardness: {hardness_text(Counter(one.hardness or 'not stated' for one in examples))}"
    if head.skipped:
        total, named = sum(head.skipped.values()), ", ".join(f"{name} {n}" for name, n in head.skipped.items())
        yield f"left out: {total} questions on {len(head.skipped)} databases that are not here or not readable: {named}"
    yield from (f"note: {note}" for note in head.notes)
    if head.health is not None:
        yield from health_lines(head.health)


def health_lines(health: "GoldHealth") -> Iterator[str]:
    good = health.golds - health.unanswerable
    yield f"golds, run under the {health.policy.value} policy: {good} of {health.golds} can be answered, ceiling " + (
        f"{100 * health.ceiling:.2f} %"
    )
    for title, faults in (
        ("fail", health.failed),
        (f"run past {health.deadline_s:g} s", health.timeouts),
        ("give more than the sandbox reads", health.capped),
    ):
        yield f"golds that {title}: {len(faults)}"
        yield from (f"  {fault_text(fault)}" for fault in faults[:SHOWN])
        if len(faults) > SHOWN:
            yield f"  … and {len(faults) - SHOWN} more (--json lists all)"
    yield f"golds that give no row: {len(health.empty)}{question_numbers(health.empty)}"
    if health.clock:
        remark = "judged by the moment, so that scores hold for their day"
        yield f"golds that ask what time it is: {len(health.clock)}{question_numbers(health.clock)}; {remark}"
    inside = [one for group in health.shared for one in group]
    yield f"questions that share their text with another gold: {len(inside)}{question_numbers(inside)}"


def fault_text(fault: "GoldFault") -> str:
    return f"question {fault.index} ({fault.database}; {fault.place}): {fault.outcome.value}: {fault.message}"


def hardness_text(counts: Counter[str]) -> str:
    from services.evaluation.metrics.aggregate import LEVELS

    names = [name for name in LEVELS if name in counts] + sorted(set(counts) - set(LEVELS))
    return ", ".join(f"{name} {counts[name]}" for name in names)


def question_numbers(found: Sequence[int]) -> str:
    if not found:
        return ""
    return f" ({', '.join(map(str, found[:SHOWN]))}{', …' if len(found) > SHOWN else ''})"
