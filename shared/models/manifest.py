"""The manifest of a trained model: its lineage and the hash of every file. It is written last."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import ObjectRef, StageRef
from shared.contracts.records import RoundScore
from shared.errors import ConflictError, NotFoundError
from shared.storage.cache import local_folder
from shared.storage.keys import model_key, model_manifest_key
from shared.storage.store import ObjectStore

if TYPE_CHECKING:  # the training process reads fingerprints and manifests, and needs no task runtime
    from shared.tasks.task import Shard


class ModelManifest(BaseModel):
    """`files` maps file names to objects; `facts` are the numbers that the training run left."""

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
    """Raises `NotFoundError` if there is no finished model of this name."""
    key = model_manifest_key(name)
    if not objects.exists(key):
        # without a manifest a model counts as unfinished, even if all of its files are there
        raise NotFoundError(f"there is no finished model {name}; trained models are listed in the report of their job")
    return ModelManifest.model_validate_json(objects.get(key))


def publish_model(objects: ObjectStore, folder: Path, manifest: ModelManifest) -> ObjectRef:
    """Uploads the files of a folder, then the manifest, so that half a model is never readable.

    Raises `ConflictError` if another job has used the name.
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
    key = model_manifest_key(name)
    data = objects.get(key)
    return ObjectRef(key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def fetch_model(objects: ObjectStore, name: str, cache: Path) -> Path:
    """Downloads the model's files.

    The folder's name holds the hash of the weights, so a retrained name is not stale.
    """
    manifest = read_manifest(objects, name)
    prefix = model_manifest_key(name).rsplit("/", 1)[0]
    return local_folder(objects, prefix, sorted(manifest.files), cache / f"{name}-{weights_hash(manifest)}")


def weights_hash(manifest: ModelManifest) -> str:
    """Eight hex digits of the hash of the first weights file; `none` without weights."""
    weights = sorted(file for file in manifest.files if file.endswith(".safetensors"))
    return manifest.files[weights[0]].sha256[:8] if weights else "none"


def read_best_round(shard: "Shard", choice: StageRef) -> RoundScore:
    for line in shard.stage_records(choice, "choice", RoundScore):
        if line.best:
            return line
    raise NotFoundError(f"stage {choice.stage} has chosen no model; did it end?")


def chosen_model(shard: "Shard", choice: StageRef | None, named: str) -> str:
    return named if choice is None else read_best_round(shard, choice).model
