"""The `sense` command. Commands import heavy modules when they run, so that `sense --help` answers at once."""

import sys
from typing import NoReturn

import typer

from services.cli.data_commands import database_commands, dataset_commands
from services.cli.demo import demo_commands
from services.cli.doctor import doctor_commands
from services.cli.evaluate_commands import evaluate_commands, suite_commands
from services.cli.experiment_commands import experiment_commands
from services.cli.import_commands import import_commands
from services.cli.job_commands import job_commands
from services.cli.key_commands import key_commands
from services.cli.model_commands import merge_commands, model_commands
from services.cli.sql_commands import sql_commands
from services.cli.stack.commands import stack_commands
from services.cli.terminal import exit_code, print_error
from shared.errors import SenseError


def make_app() -> typer.Typer:
    app = typer.Typer(
        name="sense",
        help="Your own text-to-SQL model, from a strong model's data and a weak model's mistakes.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.add_typer(stack_commands)
    app.add_typer(demo_commands)
    app.add_typer(doctor_commands)
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
    """Exits with 0 (ok), 1 (the job or the SQL failed), 2 (bad input), 3 (no stack) or 130 (interrupted)."""
    try:
        make_app()(prog_name="sense")
    except SenseError as error:
        print_error(error)
        sys.exit(exit_code(error))
    sys.exit(0)


if __name__ == "__main__":
    main()
