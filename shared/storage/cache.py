"""Local copies of immutable objects: fetched once, named by their key's last part, never changed.

The folder of databases has a size limit; the least recently used copies go first. Recency is a file's access time, set
explicitly (the modification time stays, because readers tell files apart by it). Readers touch under a shared lock and
evictors delete under an exclusive one, so no copy vanishes within `keep_s` of its touch; the kernel releases the locks
of a killed process. An open copy that is evicted stays readable until it is closed.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.errors import UnavailableError
from shared.logging import get_logger
from shared.settings import BaseSettings
from shared.storage.store import ObjectStore

LOCK_NAME = ".lock"
LEFTOVER_S = 86_400.0  # a temporary file this old is abandoned
FETCHES = 3  # tries until a copy stays
GONE_PREFIX = ".gone-"
log = get_logger()


class CacheSettings(BaseSettings):
    """How much disk local copies may use: `bytes` for databases, `records_bytes` for large objects of records,
    `models_bytes` for models.

    A copy that was used within `keep_s` seconds is never evicted: longer than any task may hold its path.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_CACHE_", extra="ignore")

    bytes: int = Field(default=20_000_000_000, ge=0, description="0: no bound")
    records_bytes: int = Field(
        default=5_000_000_000, ge=0, description="large objects of records that are read in parts; 0: no bound"
    )
    models_bytes: int = Field(default=100_000_000_000, ge=0, description="none goes within a day; 0: no bound")
    keep_s: float = Field(default=1800.0, ge=0)


_room: dict[Path, float] = {}  # bytes that this process may add to a folder before the next scan


def local_copy(objects: ObjectStore, key: str, folder: Path, bound: CacheSettings | None = None) -> Path:
    """The object as a read-only file in `folder`; several processes may fetch it at once.

    It stays for at least `bound.keep_s` seconds; call again before a later use. Raises `NotFoundError` for an absent
    object, `UnavailableError` if the disk cannot hold it.
    """
    return cached_copy(folder / key.rsplit("/", 1)[-1], lambda path: objects.get_file(key, path), bound)


def cached_copy(path: Path, bring: Callable[[Path], None], bound: CacheSettings | None = None) -> Path:
    folder = path.parent
    # Another process may evict the copy between the fetch and the touch.
    for _ in range(FETCHES):
        if touch(path):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        bring(path)
        with suppress(FileNotFoundError):
            path.chmod(0o444)  # copies are shared and never change
        there = touch(path)
        make_room(folder, path, bound or CacheSettings())  # not read before: most calls find their copy
        if there:
            return path
    raise UnavailableError(f"the local copy {path} is deleted as soon as it is made; raise SENSE_CACHE_KEEP_S")


def make_room(folder: Path, path: Path, bound: CacheSettings) -> None:
    """Evicts, unless the last scan found so much room that this copy cannot have used it up.

    A scan costs as much as there are copies. Eight processes may each use an eighth of the room between two scans.
    """
    try:
        # Space on disk, which is less than the length of a sparse file.
        amount = path.stat().st_blocks * 512
    except FileNotFoundError:
        amount = 0
    left = _room.get(folder, 0.0) - amount
    _room[folder] = left
    if left <= 0.0:
        evict(folder, bound)


def touch(path: Path) -> bool:
    try:
        with locked(path.parent, fcntl.LOCK_SH):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def evict(folder: Path, bound: CacheSettings) -> int:
    """Deletes the least recently used copies until the rest fits; young ones always stay. Returns how many."""
    if not bound.bytes:
        return 0
    with locked(folder, fcntl.LOCK_EX):
        copies = sorted(found(folder))
        size, young, evicted = sum(copy[2] for copy in copies), time.time() - bound.keep_s, 0
        _room[folder] = max(0.0, bound.bytes - size) / 8
        for used, path, amount in copies:
            if size <= bound.bytes or used > young:
                break
            with suppress(FileNotFoundError):
                path.unlink()
            size, evicted = size - amount, evicted + 1
    if size > bound.bytes:
        log.warning("cache.over", folder=str(folder), bytes=size, bound=bound.bytes, reason="all copies are in use")
    return evicted


def found(folder: Path) -> Iterator[tuple[float, Path, int]]:
    """(last use, path, bytes) of every complete copy. Removes leftovers of killed processes."""
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if not entry.name.startswith("."):
                yield status.st_atime, Path(entry.path), status.st_blocks * 512
            elif entry.name != LOCK_NAME and status.st_mtime < time.time() - LEFTOVER_S:
                Path(entry.path).unlink()


def local_folder(objects: ObjectStore, prefix: str, names: list[str], folder: Path) -> Path:
    """Several objects under `prefix` (without its final slash) as files of `folder`.

    The folders beside it share a size limit: the least recently used go, but none used within a day, since a training
    run may read it. A folder's modification time is its last use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)  # before the downloads, so that no other process evicts the folder meanwhile
    brought = False
    for name in names:
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            objects.get_file(f"{prefix}/{name}", path)
            brought = True
    os.utime(folder)
    if brought:
        evict_folders(folder.parent, CacheSettings())
    return folder


def evict_folders(parent: Path, bound: CacheSettings) -> int:
    """Like `evict`, for folders. Also removes what killed processes left."""
    for left in parent.glob(f"{GONE_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    if not bound.models_bytes:
        return 0
    sizes = {folder: folder_bytes(folder) for folder in parent.iterdir() if folder.is_dir() and folder.name[0] != "."}
    used = {folder: folder.stat().st_mtime for folder in sizes}
    total, evicted, young = sum(sizes.values()), 0, time.time() - max(bound.keep_s, LEFTOVER_S)
    for folder in sorted(used, key=lambda one: (used[one], one)):
        if total <= bound.models_bytes or used[folder] > young:
            break
        gone = parent / f"{GONE_PREFIX}{folder.name}"
        with suppress(OSError):  # another process was faster
            folder.rename(gone)  # atomic: nobody finds half of it
            shutil.rmtree(gone, ignore_errors=True)
            total, evicted = total - sizes[folder], evicted + 1
    return evicted


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
