"""The object store of the embedded stack: a folder on the local disk."""

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.contracts.base import ObjectRef
from shared.errors import InvalidInputError, NotFoundError, UnavailableError
from shared.files import read_chunks, write_atomically
from shared.storage.keys import TEMPORARY_PREFIX, check_key, check_prefix
from shared.storage.store import ObjectInfo

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class DirectoryStore:
    """Objects as files below `root`. A put writes a temporary file, syncs it, renames it, and syncs the folder.

    Safe between threads and processes of one machine. Raises `UnavailableError` for a full or unreadable disk.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        with self._disk():
            self.root.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: bytes) -> ObjectRef:
        return self._write(key, [data])

    def put_file(self, key: str, path: Path) -> ObjectRef:
        return self._write(key, read_chunks(path))

    def get(self, key: str) -> bytes:
        return b"".join(self.open_chunks(key))

    def get_file(self, key: str, path: Path) -> None:
        write_atomically(path, self.open_chunks(key))

    def open_chunks(self, key: str, size: int = 1 << 20) -> Iterator[bytes]:
        path = self._path(key)
        with self._disk(), self._present(key):
            file = path.open("rb")
        with file:
            while chunk := self._read(file.fileno(), size):
                yield chunk

    def exists(self, key: str) -> bool:
        with self._disk():
            return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        folder, _, start = check_prefix(prefix).rpartition("/")
        yield from self._walk(folder, start)

    def entries(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in self.list(prefix):
            with self._disk(), suppress(FileNotFoundError):  # deleted meanwhile
                status = (self.root / key).stat()
                yield ObjectInfo(key, status.st_size, status.st_mtime)

    def marks(self, prefix: str) -> Iterator[tuple[str, str]]:
        for key in self.list(prefix):
            found: os.stat_result | None = None
            with self._disk(), suppress(FileNotFoundError, NotADirectoryError):
                found = (self.root / key).lstat()  # each put renames a new file into place
            if found is not None:
                yield key, f"{found.st_ino}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_size}"

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._disk(), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
            self._sync_folder(path.parent)

    def remove_leftovers(self, older_than_s: float = 86_400.0) -> int:
        """Deletes old temporary files of killed writers; returns how many."""
        limit, removed = time.time() - older_than_s, 0
        with self._disk():
            for path in self.root.rglob(f"{TEMPORARY_PREFIX}*"):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime <= limit:
                        path.unlink()
                        removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _write(self, key: str, chunks: Iterable[bytes]) -> ObjectRef:
        path = self._path(key)
        with self._disk():
            self._make_folders(key, path.parent)
            temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
            try:
                digest, size = self._write_temporary(temporary, chunks)
                self._rename(key, temporary, path)
            # Also when the worker is stopped: no half-written file stays behind.
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
            self._sync_folder(path.parent)
        return ObjectRef(key=key, sha256=digest, size=size)

    @staticmethod
    def _write_temporary(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        with path.open("xb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest(), size

    def _make_folders(self, key: str, folder: Path) -> None:
        """Creates the folders of a key and syncs each new one's parent, so that a power cut loses no path."""
        if folder == self.root or folder.is_dir():
            return
        self._make_folders(key, folder.parent)
        try:
            folder.mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            taken = folder.relative_to(self.root)
            raise InvalidInputError(f"object key {key!r} lies below the object {str(taken)!r}; rename one") from None
        self._sync_folder(folder.parent)

    def _rename(self, key: str, temporary: Path, path: Path) -> None:
        try:
            temporary.replace(path)
        except IsADirectoryError:
            if next(self._walk(key, ""), None) is not None:
                raise InvalidInputError(f"object key {key!r} is a folder of other objects; rename one") from None
            # Deleted objects leave empty folders behind, and one of them has this name.
            self._remove_empty(path)
            temporary.replace(path)

    def _remove_empty(self, folder: Path) -> None:
        for below, _, _ in os.walk(folder, topdown=False):
            Path(below).rmdir()

    def _walk(self, folder: str, start: str) -> Iterator[str]:
        with self._disk():
            try:
                entries = [entry for entry in os.scandir(self.root / folder) if entry.name.startswith(start)]
            except (FileNotFoundError, NotADirectoryError):
                return
        # A folder sorts with its slash, as in the order of whole keys.
        for name in sorted(f"{entry.name}/" if is_folder(entry) else entry.name for entry in entries):
            inner = f"{folder}/{name}" if folder else name
            if inner.endswith("/"):
                yield from self._walk(inner[:-1], "")
            elif not name.startswith(TEMPORARY_PREFIX):
                yield inner

    def _read(self, descriptor: int, size: int) -> bytes:
        with self._disk():
            return os.read(descriptor, size)

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @staticmethod
    @contextmanager
    def _present(key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(f"object {key!r} does not exist in the store") from None

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise UnavailableError(f"no space left in {self.root}; free some and retry the job") from error
            reason = error.strerror or str(error)
            raise UnavailableError(
                f"the object store in {self.root} cannot be used ({reason}); check the disk and the folder's owner"
            ) from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """False for what cannot be examined: reading it reports the error, and the other objects are listed."""
    try:
        return entry.is_dir()
    except OSError:
        return False
