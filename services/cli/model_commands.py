"""Commands about trained models: list them, look at one, serve one or stop serving it."""

from typing import Annotated

import typer

from services.cli.terminal import JsonOption, UrlOption, connect, console, print_json, show_list
from shared.api.resources import Job

model_commands = typer.Typer(
    help="Trained models: list them, look at one and its origin, serve one or stop serving it."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A trained model's name; see: sense models")]


@model_commands.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List trained models by name, and which are served now; or show one, or deploy one."""
    if context.invoked_subcommand is not None:
        return
    from services.cli.render import models_table
    from shared.errors import UnavailableError

    with connect(url) as client:
        found = list(client.adapters(limit=limit))
        try:
            served: set[str] | None = set(client.models())
        except UnavailableError:
            served = None
    show_list(
        found,
        as_json,
        "no trained models; train one with: sense submit SPEC.yaml",
        lambda all_: models_table(all_, served),
    )


@model_commands.command()
def show(name: Name, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Look at a trained model: base, parents, the job and the data that made it."""
    with connect(url) as client:
        found = client.adapter(name)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    out = console()
    out.print(f"{found.id}: {found.method}, {found.mode}, on {found.base}, {found.weight_bytes} bytes", markup=False)
    for step in found.lineage:
        out.print(
            f"  {step.name}: {step.method} by stage {step.stage} of job {step.job_id} on {step.data}", markup=False
        )


@model_commands.command()
def deploy(name: Name, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Serve a trained model under its own name, by a job."""
    with connect(url) as client:
        tell(client.deploy(name), f"deploys {name}", as_json)


@model_commands.command()
def undeploy(name: Name, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Stop serving a trained model, by a job; it stays in the store and can be deployed again."""
    with connect(url) as client:
        tell(client.undeploy(name), f"takes {name} off the engine", as_json)


def tell(job: Job, does: str, as_json: bool) -> None:
    """The job that was submitted, and how to watch it."""
    if as_json:
        print_json(job.model_dump(mode="json"))
        return
    console().print(f"job {job.id} {does}; watch it: sense job {job.id} --events", markup=False)
