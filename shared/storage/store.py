"""The object store: what every service may ask of it, whatever lies behind."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shared.contracts.base import ObjectRef


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing shows it; `modified` in seconds since 1970 by the store's clock."""

    key: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """Keys are slash-separated; no key is a prefix folder of another. A put is seen whole or not at all.

    Every method raises `UnavailableError` when the store does not answer or has no space left;
    reads raise `NotFoundError` for an absent key.
    """

    def put(self, key: str, data: bytes) -> ObjectRef: ...

    def put_file(self, key: str, path: Path) -> ObjectRef: ...

    def get(self, key: str) -> bytes: ...

    def get_file(self, key: str, path: Path) -> None:
        """Writes the object to `path`, atomically."""
        ...

    def open_chunks(self, key: str, size: int = 1 << 20) -> Iterator[bytes]: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, in ascending order."""
        ...

    def entries(self, prefix: str) -> Iterator[ObjectInfo]:
        """As `list`, with sizes and ages, in no certain order."""
        ...

    def marks(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Keys that begin with `prefix`, each with a mark that changes when the object is written anew."""
        ...

    def delete(self, key: str) -> None:
        """Absent keys are fine: the wish is that the key is gone."""
        ...
