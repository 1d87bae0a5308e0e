"""The serving tasks: put models on the engine under immutable names, and take the engine off its device."""

from hashlib import file_digest
from pathlib import Path
from shutil import rmtree
from typing import Any

from services.serving.engine_client import EngineClient
from shared.contracts.base import TaskContract
from shared.contracts.serving import (
    DEPLOY_MODEL,
    RELEASE,
    UNDEPLOY_MODEL,
    DeployedCounts,
    DeployModel,
    Release,
    ReleasedCounts,
    UndeployedCounts,
    UndeployModel,
)
from shared.errors import NotFoundError, UnavailableError
from shared.models.bases import fetch_model_folders
from shared.models.manifest import ModelManifest, chosen_model, read_manifest
from shared.settings import EngineSettings
from shared.storage.store import ObjectStore
from shared.tasks.task import Shard, TaskResult, Work


def open_engine() -> EngineClient:
    return EngineClient(EngineSettings().url)


def checked_folders(objects: ObjectStore, command: DeployModel) -> tuple[Path, Path | None]:
    base, adapter = fetch_model_folders(objects, command.base, command.model if command.adapter else None)
    if command.adapter:
        check_files(read_manifest(objects, command.model), adapter or base)
    return base, adapter


def check_files(manifest: ModelManifest, folder: Path) -> None:
    """Deletes a damaged local copy and raises `UnavailableError`; the next attempt downloads it again."""
    for name, ref in manifest.files.items():
        with (folder / name).open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if found != ref.sha256:
            # without it, the next attempt would find the same damaged copy
            rmtree(folder, ignore_errors=True)
            raise UnavailableError(f"the local copy of {manifest.name} is damaged at {name}; it is brought again")


def deploy_model(command: DeployModel, shard: Shard) -> TaskResult:
    """Downloads a model; the engine serves it once it has loaded and checked it."""
    model = chosen_model(shard, command.model_from, command.model)
    command = command.model_copy(update={"model": model})
    base, adapter = checked_folders(shard.objects, command)
    open_engine().load(command.model, str(base.absolute()), str(adapter.absolute()) if adapter else None)
    return TaskResult(DeployedCounts(deployed=1))


def undeploy_model(command: UndeployModel, shard: Shard) -> TaskResult:
    """The engine answers requests in flight, then stops serving the name; doing it twice is not an error."""
    try:
        open_engine().unload(command.model)
    # an earlier attempt may have removed the name and died before it reported
    except NotFoundError:
        return TaskResult(UndeployedCounts(undeployed=0))
    return TaskResult(UndeployedCounts(undeployed=1))


def release(command: Release, shard: Shard) -> TaskResult:
    """Frees the engine's memory; its names stay and are loaded again on the next request."""
    engine = open_engine()
    served = len(engine.models())
    engine.release()
    return TaskResult(ReleasedCounts(released=served))


TASKS: dict[TaskContract, Work[Any]] = {
    DEPLOY_MODEL: deploy_model,
    UNDEPLOY_MODEL: undeploy_model,
    RELEASE: release,
}
