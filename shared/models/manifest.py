"""A model's manifest, written last: what it is, what it was made from, and the hash of every file."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import ObjectRef, StageRef
from shared.contracts.records import RoundScore
from shared.errors import ConflictError, NotFoundError
from shared.storage.cache import local_folder
from shared.storage.keys import model_key, model_manifest_key
from shared.storage.store import ObjectStore
from shared.tasks.task import Shard


class ModelManifest(BaseModel):
    """`files` maps file names to their objects; `facts` is what the training run told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    base: str
    parent: str | None
    method: str
    mode: Literal["lora", "full"]
    job_id: str
    stage: str
    data: ObjectRef
    code_version: str
    prompt_version: str
    files: dict[str, ObjectRef]
    facts: dict[str, Any] = Field(default_factory=dict)


def read_manifest(objects: ObjectStore, name: str) -> ModelManifest:
    """The manifest of a finished model. Raises `NotFoundError` where there is none."""
    key = model_manifest_key(name)
    if not objects.exists(key):
        raise NotFoundError(f"there is no finished model {name}; trained models are listed in the report of their job")
    return ModelManifest.model_validate_json(objects.get(key))


def publish_model(objects: ObjectStore, folder: Path, manifest: ModelManifest) -> ObjectRef:
    """Uploads a folder's files, then the manifest: half a model is never readable.

    A name is used once: an equal manifest is left alone, another one raises `ConflictError`.
    """
    key = model_manifest_key(manifest.name)
    if objects.exists(key) and read_manifest(objects, manifest.name).job_id != manifest.job_id:
        raise ConflictError(f"model {manifest.name} exists already; names are never used twice")
    files = {
        str(path.relative_to(folder)): objects.put_file(model_key(manifest.name, str(path.relative_to(folder))), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    text = manifest.model_copy(update={"files": files}).model_dump(mode="json")
    return objects.put(key, json.dumps(text, ensure_ascii=False, indent=1).encode())


def manifest_ref(objects: ObjectStore, name: str) -> ObjectRef:
    """A published manifest as a finished object. Raises `NotFoundError`."""
    key = model_manifest_key(name)
    data = objects.get(key)
    return ObjectRef(key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def fetch_model(objects: ObjectStore, name: str, cache: Path) -> Path:
    """The model's files as a local folder named by its manifest's content, so that a retrained name is never stale."""
    manifest = read_manifest(objects, name)
    prefix = model_manifest_key(name).rsplit("/", 1)[0]
    return local_folder(objects, prefix, sorted(manifest.files), cache / f"{name}-{weights_hash(manifest)}")


def weights_hash(manifest: ModelManifest) -> str:
    """Eight hex digits of the weights' own hash."""
    weights = sorted(file for file in manifest.files if file.endswith(".safetensors"))
    return manifest.files[weights[0]].sha256[:8] if weights else "none"


def read_best_round(shard: Shard, choice: StageRef) -> RoundScore:
    """The best model of a choice. Raises `NotFoundError` where the stage has left none."""
    for line in shard.stage_records(choice, "choice", RoundScore):
        if line.best:
            return line
    raise NotFoundError(f"stage {choice.stage} has chosen no model; did it end?")


def chosen_model(shard: Shard, choice: StageRef | None, named: str) -> str:
    """The chosen model, or the one that the command names where nothing was to be chosen."""
    return named if choice is None else read_best_round(shard, choice).model
