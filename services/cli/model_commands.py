"""Commands about trained models: list, show, deploy, undeploy, and merge an adapter into its base."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.terminal import JsonOption, UrlOption, connect, print_json, say, show_list

if TYPE_CHECKING:
    from shared.api.resources import Job
    from shared.storage.store import ObjectStore

model_commands = typer.Typer(
    help="Trained models: list them, look at one and its origin, serve one or stop serving it."
)
merge_commands = typer.Typer()
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
        # The list is useful even while the engine does not answer.
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
    say(f"{found.id}: {found.method}, {found.mode}, on {found.base}, {found.weight_bytes} bytes")
    for step in found.lineage:
        say(f"  {step.name}: {step.method} by stage {step.stage} of job {step.job_id} on {step.data}")


@model_commands.command()
def deploy(name: Name, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Serve a trained model under its own name, by a job."""
    with connect(url) as client:
        show_job(client.deploy(name), f"deploys {name}", as_json)


@model_commands.command()
def undeploy(name: Name, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Stop serving a trained model, by a job; it stays in the store and can be deployed again."""
    with connect(url) as client:
        show_job(client.undeploy(name), f"takes {name} off the engine", as_json)


def show_job(job: "Job", does: str, as_json: bool) -> None:
    if as_json:
        print_json(job.model_dump(mode="json"))
    else:
        say(f"job {job.id} {does}; watch it: sense job {job.id} --events")


@merge_commands.command()
def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A trained model's name, or its artefact folder.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The new folder of the merged model.")],
    base: Annotated[
        str | None, typer.Option("--base", help="The base, where it is not found as the training named it.")
    ] = None,
) -> None:
    """Merge an adapter into its base: a whole model that every server loads. Refuses the wrong base."""
    from services.training.merge import merge_adapter, read_trained_adapter
    from shared.models.bases import find_base
    from shared.models.manifest import fetch_model
    from shared.settings import PathSettings

    objects = local_store()
    folder = Path(model) if Path(model).is_dir() else fetch_model(objects, model, PathSettings().adapters)
    trained = read_trained_adapter(folder)
    name = base or trained.base
    here = Path(name).expanduser()
    # A folder that holds a model is a path; anything else is the name of a base.
    found = here.resolve() if (here / "config.json").is_file() else find_base(objects, name)
    say(f"merged into {merge_adapter(trained, found, name, out.absolute())}")


def local_store() -> "ObjectStore":
    """The store that SENSE_STORE_* names, else the one of this folder's stack."""
    from services.cli.stack.config import state_folder
    from shared.storage.open import StoreSettings, open_store

    if not any(name.startswith("SENSE_STORE_") for name in os.environ):
        return open_store(StoreSettings(root=state_folder() / "objects"))
    return open_store(StoreSettings())
