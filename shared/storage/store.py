"""The object store as all services use it, whatever is behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shared.contracts.base import ObjectRef


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a listing; `modified` in seconds since 1970 by the store's clock."""

    key: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """Keys are separated by slashes; no key is a folder of another. A put is visible whole or not at all.

    Every method raises `UnavailableError` if the store does not answer or is full; reads raise `NotFoundError`.
    """

    def put(self, key: str, data: bytes) -> ObjectRef: ...

    def put_file(self, key: str, path: Path) -> ObjectRef: ...

    def get(self, key: str) -> bytes: ...

    def get_file(self, key: str, path: Path) -> None:
        """Writes the object to `path` atomically."""
        ...

    def open_chunks(self, key: str, size: int = 1 << 20) -> Iterator[bytes]: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, in ascending order."""
        ...

    def entries(self, prefix: str) -> Iterator[ObjectInfo]:
        """Like `list`, with sizes and ages, in any order."""
        ...

    def marks(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Keys that begin with `prefix`, each with a mark that changes when the object is written again."""
        ...

    def delete(self, key: str) -> None:
        """Deleting an absent key succeeds."""
        ...
