"""The `sense` command. Heavy things are imported inside the commands: `sense --help` answers at once."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

import typer

from services.cli.database_commands import database_commands
from services.cli.dataset_commands import dataset_commands
from services.cli.evaluate_commands import evaluate_commands, suite_commands
from services.cli.experiment_commands import experiment_commands
from services.cli.import_commands import import_commands
from services.cli.job_commands import job_commands
from services.cli.key_commands import key_commands
from services.cli.merge_commands import merge_commands
from services.cli.model_commands import model_commands
from services.cli.sql_commands import sql_commands
from services.cli.terminal import complain, exit_code, spoken_to
from shared.errors import SenseError

# Command groups of other modules: the module and its typer.Typer().
GROUPS = (
    ("services.cli.stack.commands", "stack_commands"),
    ("services.cli.demo", "demo_commands"),
    ("services.cli.doctor.commands", "doctor_commands"),
)


def make_app() -> typer.Typer:
    """All commands, the stack's first."""
    app = typer.Typer(
        name="sense",
        help="Your own text-to-SQL model, from a strong model's data and a weak model's mistakes.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module, name in GROUPS:
        if find_spec(module) is not None:
            app.add_typer(getattr(import_module(module), name))
    app.add_typer(job_commands)
    app.add_typer(sql_commands)
    app.add_typer(merge_commands)
    app.add_typer(evaluate_commands)
    app.add_typer(suite_commands, name="suite")
    app.add_typer(experiment_commands, name="experiment")
    app.add_typer(import_commands)
    app.add_typer(database_commands, name="databases")
    app.add_typer(dataset_commands, name="datasets")
    app.add_typer(model_commands, name="models")
    app.add_typer(key_commands, name="keys")
    app.callback()(lambda: None)
    return app


def main() -> NoReturn:
    """Exit codes: 0 ok, 1 the job or the SQL failed, 2 bad input, 3 the stack cannot be reached, 130 interrupted."""
    try:
        make_app()(prog_name="sense")
    except SenseError as error:
        complain(error)
        if spoken_to and spoken_to[-1] not in error.message:
            sys.stderr.write(f"sense: the gateway was {spoken_to[-1]}\n")
        sys.exit(exit_code(error))
    sys.exit(0)


if __name__ == "__main__":
    main()
