"""Commands about databases: bring one, list them, look at a schema."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.terminal import JsonOption, UrlOption, connect, console, print_json, show_list

database_commands = typer.Typer(help="Databases of the stack: list them, add one, look at one.")


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


@database_commands.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.sqlite", help="A SQLite file, closed cleanly.")],
    name: Annotated[str | None, typer.Option(help="A name for people; default: the file's.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Bring a SQLite file into the stack; the same file gives the same id."""
    from services.sandbox.execution.database_files import check_database_file

    check_database_file(file)  # only here can it be seen that pages still wait beside the file
    with connect(url) as client:
        found = client.upload_database(file, name)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    out = console()
    out.print(f"database {found.id} is {found.name}: {found.tables} table(s), {found.size} bytes", markup=False)
    if found.views or found.triggers:
        out.print(f"it has {found.views} view(s) and {found.triggers} trigger(s); triggers never fire", markup=False)
    for warning in found.warnings:
        out.print(f"note: {warning}", markup=False)


@database_commands.command()
def remove(
    database_id: Annotated[str, typer.Argument(metavar="ID", help="An uploaded database's id.")], url: UrlOption = None
) -> None:
    """Remove an uploaded database that no data set and no job names."""
    with connect(url) as client:
        client.remove_database(database_id)
    console().print(f"database {database_id} is gone", markup=False)


@database_commands.command()
def show(
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

    out = console()
    named = f" ({found.upload.name})" if found.upload else ""
    out.print(f"database {found.id}{named}, {found.size or 'unknown'} bytes", markup=False)
    for table in found.card.relations:
        out.print(columns_table(table))
    for warning in found.card.warnings:
        out.print(f"note: {warning}", markup=False)
