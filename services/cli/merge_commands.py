"""Commands about merging trained models on this machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.terminal import console

if TYPE_CHECKING:
    from shared.storage.store import ObjectStore

merge_commands = typer.Typer()


@merge_commands.command()
def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A trained model's name, or its artefact folder.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The new folder of the merged model.")],
    base: Annotated[
        str | None, typer.Option("--base", help="The base, where it is not found as the training named it.")
    ] = None,
) -> None:
    """Merge an adapter into its base: a whole model that every server loads. Refuses the wrong base."""
    from services.training.merge import merge_adapter as merge_model
    from services.training.merge import read_trained_adapter
    from shared.models.bases import find_base
    from shared.models.manifest import fetch_model
    from shared.settings import PathSettings

    objects = local_store()
    folder = Path(model) if Path(model).is_dir() else fetch_model(objects, model, PathSettings().adapters)
    trained = read_trained_adapter(folder)
    name = base or trained.base
    here = Path(name).expanduser()
    found = here.resolve() if (here / "config.json").is_file() else find_base(objects, name)
    console().print(f"merged into {merge_model(trained, found, name, out.absolute())}", markup=False)


def local_store() -> "ObjectStore":
    """The object store that SENSE_STORE_* names, else the one of the stack in this folder."""
    from services.cli.stack.config import state_folder
    from shared.storage.open import StoreSettings, open_store

    if not any(name.startswith("SENSE_STORE_") for name in os.environ):
        return open_store(StoreSettings(root=state_folder() / "objects"))
    return open_store(StoreSettings())
