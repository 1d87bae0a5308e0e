"""Carries sealed checkpoints from the run's folder to the object store while training goes on."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from services.training.checkpoint_store import CheckpointStore
from services.training.config import TrainConfig
from services.training.run.checkpoints import lines_up_to, sealed_steps
from services.training.scores import BEST
from shared.errors import SenseError
from shared.logging import get_logger

LOOK_S = 0.5
PATIENCE_S = 30.0
METRICS = "metrics.jsonl"
log = get_logger()


class Uploader:
    """A thread of the supervisor; it takes the newest sealed checkpoint, so a slow store skips some.

    A store that does not answer costs nothing but time: the next look tries again. `stored` hears of each whole one.
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
        """Begins to look."""
        self._thread.start()

    def close(self, *, keep: bool) -> None:
        """Ends the thread; with `keep`, what the run sealed last still goes up, else nothing more is written."""
        if not keep:
            self._abandon.set()
        self._end.set()
        self._thread.join()
        if keep:
            self.look()

    def look(self) -> bool:
        """Uploads the newest sealed checkpoint that is not stored yet; False where it could not."""
        step = max(sealed_steps(self.config.out_dir), default=0)
        if step <= self.newest:
            return True
        pinned = self.config.out_dir / f"uploading-{step}"
        try:
            files = pin(self.config, step, pinned)
            if not self.store.put(step, files, ended=self._abandon.is_set):
                return False
            self.newest = step
            log.info("checkpoint.stored", step=step, files=len(files))
            self.stored(step)
            self.store.thin()
        except (SenseError, OSError) as error:
            log.warning("checkpoint.not_stored", step=step, error=str(error))
            return False
        finally:
            shutil.rmtree(pinned, ignore_errors=True)
        return True

    def _watch(self) -> None:
        pause = LOOK_S
        while not self._end.wait(pause):
            pause = LOOK_S if self.look() else min(PATIENCE_S, 2 * pause)


def pin(config: TrainConfig, step: int, folder: Path) -> dict[str, Path]:
    """Hard links to a checkpoint's files, which the trainer may delete meanwhile, beside the curve up to its step."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = config.out_dir / f"checkpoint-{step}"
    files: dict[str, Path] = {}
    for path in sorted(one for one in source.rglob("*") if one.is_file()):
        name = f"{source.name}/{path.relative_to(source)}"
        files[name] = folder / str(len(files))
        os.link(path, files[name])
    for path in sorted((config.out_dir / BEST).glob("*")):
        files[f"{BEST}/{path.name}"] = folder / f"{BEST}-{path.name}"
        os.link(path, files[f"{BEST}/{path.name}"])
    files[METRICS] = folder / METRICS
    files[METRICS].write_text("".join(lines_up_to(config.metrics_file, step)))
    if config.reference_file.exists():
        files[config.reference_file.name] = config.reference_file
    return files
