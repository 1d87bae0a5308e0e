"""A base by its reference in a spec, wherever it lies: built in, on a hub, in a folder, or in this object store."""

from pathlib import Path

from shared.errors import InvalidInputError
from shared.models.bases import resolve_base
from shared.models.manifest import bring_model, read_manifest
from shared.settings import PathSettings
from shared.storage.store import ObjectStore

STORED = "models/"


def find_base(objects: ObjectStore, ref: str) -> Path:
    """The local Hugging Face folder of a base. `models/NAME` is a full model of this store.

    Raises `NotFoundError` for a model that is not there, `InvalidInputError` for an adapter or an unknown form.
    """
    paths = PathSettings()
    if not ref.startswith(STORED):
        return resolve_base(ref, paths.bases, paths.allowed_roots())
    name = ref.removeprefix(STORED)
    manifest = read_manifest(objects, name)
    if manifest.mode != "full":
        raise InvalidInputError(f"{ref} is an adapter, not a base; name its base, {manifest.base}, instead")
    return bring_model(objects, name, paths.adapters)


def model_folders(objects: ObjectStore, base: str, model: str | None) -> tuple[Path, Path | None]:
    """What lies behind a stored model (or a base alone): the folder of whole weights, and that of an adapter on them.

    A full model is whole weights itself, whatever base it came from.
    """
    if model is None:
        return find_base(objects, base), None
    folder = bring_model(objects, model, PathSettings().adapters)
    if read_manifest(objects, model).mode == "full":
        return folder, None
    return find_base(objects, base), folder
