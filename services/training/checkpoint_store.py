"""Checkpoints in the object store: whole ones only, so that any worker can go on where another one stopped.

A checkpoint's files lie below a folder of their writer; its manifest, written last, names them with their SHA-256. Two
writers of the same step (one of them late, without a lease) therefore never mix their files.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from services.training.run.checkpoints import MARKER
from shared.contracts.refs import ObjectRef
from shared.errors import NotFoundError
from shared.logging import get_logger
from shared.storage.keys import checkpoint_key, checkpoints_prefix
from shared.storage.store import ObjectStore

MANIFEST = "manifest.json"
STATE = "state/"
KEPT = 2
STEP = re.compile(r"(\d+)/")
log = get_logger()


class CheckpointManifest(BaseModel):
    """`files` by their path in the run's folder; `recipe` tells runs apart that must not be mixed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    recipe: str
    files: dict[str, ObjectRef]


class CheckpointStore:
    """The checkpoints of one training stage. `writer` is unique to one attempt."""

    def __init__(self, objects: ObjectStore, job: str, stage: str, *, recipe: str, writer: str) -> None:
        self.objects = objects
        self.job = job
        self.stage = stage
        self.recipe = recipe
        self.writer = writer

    def put(self, step: int, files: Mapping[str, Path], *, ended: Callable[[], bool] = lambda: False) -> bool:
        """Uploads `files` (path in the run's folder -> where it lies), then the manifest; False once it has `ended`."""
        refs: dict[str, ObjectRef] = {}
        for name, path in sorted(files.items()):
            if ended():
                return False
            refs[name] = self.objects.put_file(self._key(step, f"{self.writer}/{name}"), path)
        manifest = CheckpointManifest(step=step, recipe=self.recipe, files=refs)
        self.objects.put(self._key(step, MANIFEST), manifest.model_dump_json(indent=1).encode())
        return True

    def restore(self, out_dir: Path) -> int:
        """Brings the newest whole checkpoint of this recipe into `out_dir`; its step, 0 where there is none."""
        for step in sorted(self.steps(), reverse=True):
            manifest = self._manifest(step)
            if manifest is not None and self._bring(manifest, out_dir):
                return step
        return 0

    def thin(self, keep: int = KEPT) -> None:
        """Deletes all but the `keep` newest whole ones, manifests first, and what half uploads left below them."""
        whole = [step for step in sorted(self.steps(), reverse=True) if self.objects.exists(self._key(step, MANIFEST))]
        oldest = min(whole[:keep], default=None)
        for step in self.steps():
            if (oldest is None and keep == 0) or (oldest is not None and step < oldest):
                self.objects.delete(self._key(step, MANIFEST))
                for key in list(self.objects.list(self._key(step, ""))):
                    self.objects.delete(key)

    def steps(self) -> set[int]:
        """Steps of which anything is there."""
        prefix = checkpoints_prefix(self.job, self.stage)
        found = (STEP.match(key.removeprefix(prefix)) for key in self.objects.list(prefix))
        return {int(match[1]) for match in found if match}

    def _key(self, step: int, name: str) -> str:
        if not name:
            return f"{checkpoints_prefix(self.job, self.stage)}{step}/"
        return checkpoint_key(self.job, self.stage, step, name)

    def _manifest(self, step: int) -> CheckpointManifest | None:
        try:
            manifest = CheckpointManifest.model_validate_json(self.objects.get(self._key(step, MANIFEST)))
        except (NotFoundError, ValidationError):
            return None  # a half upload
        if manifest.recipe != self.recipe:
            log.warning("checkpoint.other_recipe", step=step)
            return None
        return manifest

    def _bring(self, manifest: CheckpointManifest, out_dir: Path) -> bool:
        """The marker comes last: a kill in between leaves no folder that looks whole."""
        names = sorted(manifest.files, key=lambda name: (name.endswith(MARKER), name))
        for name in names:
            path = out_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            ref = manifest.files[name]
            try:
                self.objects.get_file(ref.key, path)
            except NotFoundError:
                log.warning("checkpoint.incomplete", step=manifest.step, file=name)
                return False
            if file_sha256(path) != ref.sha256:
                log.warning("checkpoint.damaged", step=manifest.step, file=name)
                path.unlink()
                return False
        return True


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe_hash(facts: Mapping[str, object]) -> str:
    """What decides the curve, in one hash: runs with the same one may continue each other's checkpoints."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
