"""Commands about databases and datasets: list them, show one, add or remove one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.terminal import JsonOption, UrlOption, connect, print_json, say, show_list

if TYPE_CHECKING:
    from shared.api.resources import Dataset

database_commands = typer.Typer(help="Databases of the stack: list them, add one, look at one.")
dataset_commands = typer.Typer(help="Datasets of the stack: list them, look at one. Bring one with: sense import.")


@database_commands.callback(invoke_without_command=True)
def databases(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List uploaded databases, newest first; or add one, or show one."""
    if context.invoked_subcommand is not None:
        return
    from services.cli.render import databases_table

    with connect(url) as client:
        found = list(client.databases(limit=limit))
    show_list(found, as_json, "no databases; bring one with: sense databases add FILE.sqlite", databases_table)


@database_commands.command("add")
def add_database(
    file: Annotated[Path, typer.Argument(metavar="FILE.sqlite", help="A SQLite file, closed cleanly.")],
    name: Annotated[str | None, typer.Option(help="A name for people; default: the file's.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Bring a SQLite file into the stack; the same file gives the same id."""
    from services.sandbox.execution.database_files import check_database_file

    check_database_file(file)  # only here one can see a write-ahead log beside the file
    with connect(url) as client:
        found = client.upload_database(file, name)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    say(f"database {found.id} is {found.name}: {found.tables} table(s), {found.size} bytes")
    if found.views or found.triggers:
        say(f"it has {found.views} view(s) and {found.triggers} trigger(s); triggers never fire")
    for warning in found.warnings:
        say(f"note: {warning}")


@database_commands.command("remove")
def remove_database(
    database_id: Annotated[str, typer.Argument(metavar="ID", help="An uploaded database's id.")], url: UrlOption = None
) -> None:
    """Remove an uploaded database that no dataset and no job names."""
    with connect(url) as client:
        client.remove_database(database_id)
    say(f"database {database_id} is gone")


@database_commands.command("show")
def show_database(
    database_id: Annotated[str, typer.Argument(metavar="ID", help="A database's id; see: sense databases")],
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Look at a database: tables, columns, keys, samples."""
    with connect(url) as client:
        found = client.database(database_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    from services.cli.render import columns_table

    named = f" ({found.upload.name})" if found.upload else ""
    say(f"database {found.id}{named}, {found.size or 'unknown'} bytes")
    for table in found.card.relations:
        say(columns_table(table))
    for warning in found.card.warnings:
        say(f"note: {warning}")


@dataset_commands.callback(invoke_without_command=True)
def datasets(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List datasets, newest first; or show one."""
    if context.invoked_subcommand is not None:
        return
    from services.cli.render import datasets_table

    with connect(url) as client:
        found = list(client.datasets(limit=limit))
    show_list(found, as_json, "no datasets; bring one with: sense import FORMAT PATH --name N", datasets_table)


@dataset_commands.command("remove")
def remove_dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name, or NAME@VERSION.")],
    url: UrlOption = None,
) -> None:
    """Remove a dataset, or one version of it; its databases stay."""
    plain, _, version = name.partition("@")
    with connect(url) as client:
        client.remove_dataset(plain, version=version or None)
    say(f"dataset {name} is gone")


@dataset_commands.command("show")
def show_dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name, or NAME@VERSION.")],
    examples: Annotated[int, typer.Option(min=0, help="Show so many examples too.")] = 0,
    split: Annotated[str | None, typer.Option(help="Examples of this split only.")] = None,
    hardness: Annotated[str | None, typer.Option(help="Examples of this hardness only.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Look at a dataset: counts, licence, sources, versions, and how its golds ran."""
    plain, _, version = name.partition("@")
    with connect(url) as client:
        found = client.dataset(plain, version=version or None)
        rows = list(
            client.dataset_examples(plain, version=found.version, split=split, hardness=hardness, limit=examples)
        )
    if as_json:
        shown = [row.model_dump(mode="json") for row in rows]
        print_json({**found.model_dump(mode="json"), **({"examples": shown} if examples else {})})
        return
    for line in describe_dataset(found):
        say(line)
    for row in rows:
        place = f"{row.index} ({row.domain}, {row.split}, {row.hardness or 'hardness not stated'})"
        say(f"\n{place}: {row.question}")
        if row.evidence:
            say(f"  evidence: {row.evidence}")
        say(f"  {row.gold}")


def describe_dataset(found: "Dataset") -> list[str]:
    from services.cli.import_commands import health_lines

    counts = ", ".join(f"{split} {count}" for split, count in found.splits.items())
    lines = [
        f"dataset {found.name}@{found.version}: {found.questions} questions ({counts}), {found.databases} databases",
        f"format {found.format}, official policy {found.policy.value}, {found.licence}",
        f"published version: {found.release or 'unknown'}",
        *(f"{name}: SHA-256 {sha}" for name, sha in found.sources.items()),
        *(
            f"hardness, {split}: " + ", ".join(f"{name} {count}" for name, count in levels.items())
            for split, levels in found.hardness.items()
        ),
    ]
    if found.skipped:
        lines.append(f"left out at the import: {sum(found.skipped.values())} questions on missing databases")
    lines += [f"note: {note}" for note in found.notes]
    lines += health_lines(found.health) if found.health else []
    others = [one.version for one in found.versions if one.version != found.version]
    return [*lines, f"other versions: {', '.join(others)}"] if others else lines
