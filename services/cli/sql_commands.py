"""Commands about one SQL: run it in the sandbox of this process, or have a served model write it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.terminal import FAILED, JsonOption, UrlOption, connect, console, print_json, read_text
from shared.errors import InvalidInputError

if TYPE_CHECKING:
    from shared.client.client import SenseClient
    from shared.contracts.records import PromptStyle

ANSWERED = ("ok", "empty")
ANSWER_TOKENS = 256
sql_commands = typer.Typer()
Database = Annotated[Path, typer.Option("--db", metavar="FILE.sqlite", help="A SQLite file; it is only read.")]
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
    result = run_sql(db, text, deadline, max_rows) if db else run_remote(db_id or "", text, deadline, max_rows, url)
    print_json(result)
    if result["outcome"] not in ANSWERED:
        raise typer.Exit(FAILED)


def run_sql(db: Path, sql: str, deadline: float, max_rows: int) -> dict[str, Any]:
    """One SQL in a child of this process."""
    from services.sandbox.execute import execute_once

    return execute_once(db, sql, deadline_s=deadline, max_rows=max_rows)


def run_remote(db_id: str, sql: str, deadline: float, max_rows: int, url: str | None) -> dict[str, Any]:
    """One SQL in the stack's sandbox."""
    with connect(url) as client:
        return client.execute(db_id, sql, deadline_s=deadline, max_rows=max_rows).model_dump(exclude={"object"})


@sql_commands.command()
def ask(
    question: Annotated[str, typer.Argument(help="A question about the database.")],
    db: Database,
    model: Annotated[str | None, typer.Option(help="A served model; needed where several are served.")] = None,
    rows: Annotated[int, typer.Option(min=0, max=5, help="Example rows a table in the prompt.")] = 3,
    comments: Annotated[bool, typer.Option("--comments", help="Show the schema's comments in the prompt.")] = False,
    foreign_keys: Annotated[bool, typer.Option("--foreign-keys", help="List the foreign keys in the prompt.")] = False,
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="Ask for reasoning before the SQL (target reasoning_sql).")
    ] = False,
    deadline: Deadline = 2.0,
    max_rows: MaxRows = 100,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Ask a served model a question; runs the SQL that it writes."""
    from shared.contracts.records import PromptStyle
    from shared.sql.extract import extract_sql

    style = PromptStyle(comments=comments, foreign_keys=foreign_keys, target="reasoning_sql" if reasoning else "sql")
    messages = make_prompt(db, question, rows, style)
    with connect(url) as client:
        chosen = model or only_model(client)
        answer = client.chat(chosen, messages, temperature=0, max_tokens=ANSWER_TOKENS * (2 if reasoning else 1))
    sql = extract_sql(answer, last=reasoning)
    result = run_sql(db, sql, deadline, max_rows) if sql else None
    if as_json:
        print_json({"model": chosen, "question": question, "answer": answer, "sql": sql, "result": result})
    else:
        show(chosen, answer, sql, result)
    if result is None or result["outcome"] not in ANSWERED:
        raise typer.Exit(FAILED)


def make_prompt(db: Path, question: str, rows: int, style: "PromptStyle") -> list[dict[str, Any]]:
    """The one prompt of training and evaluation, for this file."""
    from hashlib import file_digest

    from services.sandbox.card import make_card
    from services.sandbox.files import identify
    from shared.sql.prompt import render_messages

    identify(db)
    with db.open("rb") as file:
        database_id = file_digest(file, "sha256").hexdigest()
    card = make_card(db, database_id, sample_rows=rows)
    return [message.model_dump() for message in render_messages(card, question, rows=rows, style=style)]


def only_model(client: "SenseClient") -> str:
    """The served model, where there is one. Raises `InvalidInputError` that lists them otherwise."""
    served = client.models()
    if not served:
        raise InvalidInputError("no model is served; train and deploy one with: sense demo")
    if len(served) > 1:
        raise InvalidInputError(f"{len(served)} models are served; choose one with --model: {', '.join(served)}")
    return served[0]


def show(model: str, answer: str, sql: str | None, result: dict[str, Any] | None) -> None:
    """The SQL and its rows, for people."""
    from services.cli.render import rows_table

    out = console()
    if sql is None or result is None:
        out.print(f"{model} wrote no SQL; its answer:\n{answer}", markup=False)
        return
    out.print(sql, markup=False)
    if result["outcome"] not in ANSWERED:
        out.print(f"{result['outcome']}: {result['message']}", markup=False)
        return
    if result["columns"] and result["rows"]:
        out.print(rows_table(result["columns"], result["rows"]))
    more = ", cut" if result["truncated"] else ""
    out.print(f"{result['row_count']} row(s){more}, {result['elapsed_ms']:.0f} ms", markup=False)
