"""Checkpoints: sealed on disk once they are complete, uploaded while training runs, restored on any worker.

In the object store a checkpoint's files lie below a folder of their writer. Its manifest, written last, names them
with their SHA-256. Two writers of the same step (one of them late, without a lease) therefore never mix their files.
"""

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from services.training.config import TrainConfig
from services.training.scores import BEST_FOLDER
from shared.contracts.base import ObjectRef
from shared.errors import NotFoundError, SenseError
from shared.logging import get_logger
from shared.storage.keys import checkpoint_key, checkpoints_prefix
from shared.storage.store import ObjectStore

SEAL_FILE = "COMPLETED"
CHECKPOINT_MANIFEST = "manifest.json"
METRICS_FILE = "metrics.jsonl"
KEPT_CHECKPOINTS = 2  # the older one serves if the newer one is damaged
STEP_PATTERN = re.compile(r"(\d+)/")
POLL_S = 0.5  # seconds between looks for a new checkpoint
MAX_POLL_S = 30.0  # seconds, while the store does not answer
log = get_logger()


def seal(folder: Path) -> None:
    """Syncs every file of `folder`, then writes the seal with their sizes.

    The order matters: after a crash, a seal on disk means that the files are on disk as well.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL_FILE)
    for path in files:
        _sync(path)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    (folder / SEAL_FILE).write_text(json.dumps(sizes) + "\n")
    # the folder's entry of the seal has to reach the disk, too
    _sync(folder / SEAL_FILE)
    _sync(folder)


def is_sealed(folder: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((folder / SEAL_FILE).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def sealed_steps(out_dir: Path) -> list[int]:
    folders = {folder.name.removeprefix("checkpoint-"): folder for folder in out_dir.glob("checkpoint-*")}
    return sorted(int(step) for step, folder in folders.items() if step.isdigit() and is_sealed(folder))


def metric_lines_up_to(path: Path, step: int) -> list[str]:
    if step == 0 or not path.exists():
        return []
    # the last piece is empty or a line that a kill cut off
    lines = [f"{line}\n" for line in path.read_bytes().decode().split("\n")[:-1]]
    return [line for line in lines if json.loads(line)["step"] <= step]


def newest_sealed(out_dir: Path) -> tuple[Path, int] | None:
    """The checkpoint to resume from, with its step. Deletes unsealed ones, so that nothing else finds them."""
    steps = sealed_steps(out_dir)
    for folder in out_dir.glob("checkpoint-*"):
        step = folder.name.removeprefix("checkpoint-")
        if not step.isdigit() or int(step) not in steps:
            shutil.rmtree(folder, ignore_errors=True)
    return (out_dir / f"checkpoint-{steps[-1]}", steps[-1]) if steps else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CheckpointManifest(BaseModel):
    """`files` by their path in the run's folder; only runs with the same `recipe` hash may share checkpoints."""

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
        """Uploads `files` (path in the run's folder -> local path), then the manifest; False once `ended()`."""
        refs: dict[str, ObjectRef] = {}
        for name, path in sorted(files.items()):
            if ended():
                return False
            refs[name] = self.objects.put_file(self._key(step, f"{self.writer}/{name}"), path)
        # last, because readers take the manifest as the sign that all files are there
        manifest = CheckpointManifest(step=step, recipe=self.recipe, files=refs)
        self.objects.put(self._key(step, CHECKPOINT_MANIFEST), manifest.model_dump_json(indent=1).encode())
        return True

    def restore(self, out_dir: Path) -> int:
        """Downloads the newest whole checkpoint of this recipe and returns its step, or 0 if there is none."""
        for step in sorted(self.steps(), reverse=True):
            manifest = self._manifest(step)
            if manifest is not None and self._download(manifest, out_dir):
                return step
        return 0

    def prune(self, keep: int = KEPT_CHECKPOINTS) -> None:
        """Deletes all but the newest `keep` whole checkpoints, and the partial uploads that are older than these."""
        steps = sorted(self.steps(), reverse=True)
        whole = [step for step in steps if self.objects.exists(self._key(step, CHECKPOINT_MANIFEST))]
        oldest = min(whole[:keep], default=None)
        for step in steps:
            if (oldest is None and keep == 0) or (oldest is not None and step < oldest):
                # without its manifest a checkpoint does not count, so a kill in between leaves no damaged one
                self.objects.delete(self._key(step, CHECKPOINT_MANIFEST))
                for key in list(self.objects.list(self._key(step, ""))):
                    self.objects.delete(key)

    def steps(self) -> set[int]:
        """Steps with any object, partial uploads too."""
        prefix = checkpoints_prefix(self.job, self.stage)
        found = (STEP_PATTERN.match(key.removeprefix(prefix)) for key in self.objects.list(prefix))
        return {int(match[1]) for match in found if match}

    def _key(self, step: int, name: str) -> str:
        if not name:
            return f"{checkpoints_prefix(self.job, self.stage)}{step}/"
        return checkpoint_key(self.job, self.stage, step, name)

    def _manifest(self, step: int) -> CheckpointManifest | None:
        try:
            manifest = CheckpointManifest.model_validate_json(self.objects.get(self._key(step, CHECKPOINT_MANIFEST)))
        except (NotFoundError, ValidationError):
            return None  # a partial upload
        if manifest.recipe != self.recipe:
            log.warning("checkpoint.other_recipe", step=step)
            return None
        return manifest

    def _download(self, manifest: CheckpointManifest, out_dir: Path) -> bool:
        # the seal comes last, so that a kill in between leaves no folder that looks complete
        for name in sorted(manifest.files, key=lambda name: (name.endswith(SEAL_FILE), name)):
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe_hash(facts: Mapping[str, object]) -> str:
    """Hashes everything that changes the loss curve: runs with equal hashes may continue each other's checkpoints."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


class CheckpointUploader:
    """A thread of the supervisor. It uploads the newest sealed checkpoint, so a slow store skips some.

    If the store does not answer, the thread tries again later. It calls `stored` with the step of each upload.
    """

    def __init__(
        self, config: TrainConfig, store: CheckpointStore, *, since: int, stored: Callable[[int], None]
    ) -> None:
        self.config = config
        self.store = store
        self.newest = since
        self.stored = stored
        self._end = threading.Event()
        self._abandon = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="checkpoints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, *, keep: bool) -> None:
        """Ends the thread. With `keep` it uploads the last sealed checkpoint first, else it writes nothing more."""
        if not keep:
            self._abandon.set()
        self._end.set()
        # `upload_newest` is not called from two threads at once
        self._thread.join()
        if keep:
            self.upload_newest()

    def upload_newest(self) -> bool:
        step = max(sealed_steps(self.config.out_dir), default=0)
        if step <= self.newest:
            return True
        pinned = self.config.out_dir / f"uploading-{step}"
        try:
            files = link_checkpoint_files(self.config, step, pinned)
            if not self.store.put(step, files, ended=self._abandon.is_set):
                return False
            self.newest = step
            log.info("checkpoint.stored", step=step, files=len(files))
            self.stored(step)
            self.store.prune()
        except (SenseError, OSError) as error:
            log.warning("checkpoint.not_stored", step=step, error=str(error))
            return False
        finally:
            shutil.rmtree(pinned, ignore_errors=True)
        return True

    def _watch(self) -> None:
        pause = POLL_S
        while not self._end.wait(pause):
            pause = POLL_S if self.upload_newest() else min(MAX_POLL_S, 2 * pause)


def link_checkpoint_files(config: TrainConfig, step: int, folder: Path) -> dict[str, Path]:
    """Hard-links a checkpoint's files, which the trainer may delete meanwhile, and copies the metrics up to it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = config.out_dir / f"checkpoint-{step}"
    files: dict[str, Path] = {}
    for path in sorted(one for one in source.rglob("*") if one.is_file()):
        name = f"{source.name}/{path.relative_to(source)}"
        files[name] = folder / str(len(files))
        # a link keeps the content alive and costs no copy
        os.link(path, files[name])
    for path in sorted((config.out_dir / BEST_FOLDER).glob("*")):
        files[f"{BEST_FOLDER}/{path.name}"] = folder / f"{BEST_FOLDER}-{path.name}"
        os.link(path, files[f"{BEST_FOLDER}/{path.name}"])
    files[METRICS_FILE] = folder / METRICS_FILE
    files[METRICS_FILE].write_text("".join(metric_lines_up_to(config.metrics_file, step)))
    if config.reference_file.exists():
        files[config.reference_file.name] = config.reference_file
    return files
