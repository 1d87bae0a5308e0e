"""Commands about single queries: run one in the sandbox, or let a served model write one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.terminal import FAILED, JsonOption, UrlOption, connect, print_json, read_text, say
from shared.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from shared.client.client import SenseClient

ANSWERED = ("ok", "empty")
sql_commands = typer.Typer()
Deadline = Annotated[float, typer.Option("--deadline", min=0.01, help="Seconds the SQL may run.")]
MaxRows = Annotated[int, typer.Option("--max-rows", min=0, help="Rows shown at the most.")]


@sql_commands.command()
def execute(
    db: Annotated[Path | None, typer.Option(metavar="FILE.sqlite", help="A SQLite file; it is only read.")] = None,
    db_id: Annotated[
        str | None, typer.Option(metavar="ID", help="A database of the stack; see: sense databases")
    ] = None,
    sql: Annotated[str | None, typer.Option(help="The SQL.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the SQL; - reads standard input.")] = None,
    deadline: Deadline = 2.0,
    max_rows: MaxRows = 100,
    url: UrlOption = None,
) -> None:
    """Run SQL in the sandbox; prints one JSON object. With --db no stack is needed."""
    if (db is None) == (db_id is None):
        raise InvalidInputError("name the database by --db or by --db-id, one of them")
    if (sql is None) == (file is None):
        raise InvalidInputError("give the SQL by --sql or by --file, one of them")
    text = sql if sql is not None else read_text(file, "SQL file") if file else ""
    if db:
        from services.sandbox.execution.pool import execute_once

        result = execute_once(db, text, deadline_s=deadline, max_rows=max_rows)
    else:
        with connect(url) as client:
            answer = client.execute(db_id or "", text, deadline_s=deadline, max_rows=max_rows)
        result = answer.model_dump(exclude={"object"})
    print_json(result)
    if result["outcome"] not in ANSWERED:
        raise typer.Exit(FAILED)


@sql_commands.command()
def ask(
    question: Annotated[str, typer.Argument(help="A question about the database.")],
    db: Annotated[
        Path | None, typer.Option(metavar="FILE.sqlite", help="A SQLite file; it is stored as by: sense databases add")
    ] = None,
    db_id: Annotated[str | None, typer.Option(metavar="ID", help="A database of the stack.")] = None,
    ddl: Annotated[Path | None, typer.Option(metavar="FILE.sql", help="CREATE TABLE statements; - reads them.")] = None,
    evidence: Annotated[str | None, typer.Option(help="What the question takes for granted.")] = None,
    model: Annotated[str | None, typer.Option(help="A served model; else the newest trained one.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=32, help="Samples; the majority by execution wins.")] = 1,
    repair: Annotated[bool, typer.Option(help="One more try where the SQL fails.")] = False,
    execute: Annotated[bool, typer.Option(help="Run the SQL and show its rows.")] = True,
    dialect: Annotated[str | None, typer.Option(help="Show the SQL in this dialect too, such as postgres.")] = None,
    rows: Annotated[
        int | None, typer.Option(min=0, max=5, help="Example rows a table in the prompt; else as in training.")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this table or view in the prompt; may be given again."),
    ] = None,
    deadline: Deadline = 2.0,
    max_rows: MaxRows = 100,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Ask a served model a question about a database; shows the SQL and its rows."""
    from pydantic import ValidationError

    from services.cli.render import answer_lines
    from shared.api.sql import SqlRequest

    if sum(one is not None for one in (db, db_id, ddl)) != 1:
        raise InvalidInputError("name the database by --db, --db-id or --ddl, one of them")
    given: dict[str, Any] = {
        "question": question,
        "evidence": evidence,
        "model": model,
        "ddl": read_text(ddl, "DDL file") if ddl else None,
        "n": n,
        "repair": repair,
        "execute": execute,
        "dialect": dialect,
        "rows": rows,
        "tables": table or None,
        "deadline_s": deadline,
        "max_rows": max_rows,
    }
    with connect(url) as client:
        given["database_id"] = upload_once(client, db) if db else db_id
        try:
            request = SqlRequest.model_validate(given)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise InvalidInputError(f"{where}: {fault['msg']}" if where else str(fault["msg"])) from error
        answer = client.ask(request)
    if as_json:
        print_json(answer.model_dump())
    else:
        shown, notes = answer_lines(answer)
        for part in shown:
            say(part)
        for note in notes:
            say(note, stderr=True)
    if answer.sql is None or answer.outcome not in (*ANSWERED, None):
        raise typer.Exit(FAILED)


def upload_once(client: "SenseClient", db: Path) -> str:
    from hashlib import file_digest

    from services.sandbox.execution.database_files import check_database_file

    check_database_file(db)  # errors about the file name its path, and nothing is sent
    with db.open("rb") as file:
        database_id = file_digest(file, "sha256").hexdigest()
    try:
        return client.database(database_id).id
    except NotFoundError:
        return client.upload_database(db).id
