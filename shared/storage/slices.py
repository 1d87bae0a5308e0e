"""Some rows of a large set, at the cost of these rows.

The first slice that a machine reads of a set brings the set to its disk, a chunk at a time, checks its SHA-256 on the
way and notes where lines begin; every later one seeks. Copies are named by their content, shared by the machine's
workers and bounded as a whole (`shared.storage.cache`).
"""

import fcntl
import hashlib
import os
import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import BaseModel

from shared.contracts.refs import ObjectRef
from shared.errors import UnavailableError
from shared.logging import get_logger
from shared.storage.base import ObjectStore
from shared.storage.cache import kept_copy
from shared.storage.jsonl import changed, parse_line, read_checked_lines
from shared.storage.local_files import write_whole
from shared.storage.settings import CacheSettings

M = TypeVar("M", bound=BaseModel)
SMALL = 4 << 20  # bytes: what is read whole in the time that a request to the store takes
STRIDE = 64  # lines between two that are noted
log = get_logger()
FOOTER = struct.Struct("<QQ")  # behind data and notes: bytes of data, lines


def read_slice(
    store: ObjectStore, refs: Iterable[ObjectRef], offset: int, limit: int, model: type[M], folder: Path
) -> Iterator[M]:
    """Rows `offset` to `offset + limit` of these objects, one behind the other. Large ones are kept in `folder`.

    Raises `CorruptObjectError` for bytes that are not those that were recorded.
    """
    for ref in refs:
        if limit <= 0:
            return
        count, copy = 0, None if ref.size <= SMALL else kept(store, ref, folder)
        if copy is None:
            for number, line in enumerate(read_checked_lines(store, ref)):
                count = number + 1
                if offset <= number < offset + limit:
                    yield parse_line(line, model, f"{ref.key}, line {count}")
        else:
            with copy:
                copy.seek(-FOOTER.size, os.SEEK_END)
                size, count = FOOTER.unpack(copy.read(FOOTER.size))
                lines = lines_from(copy, size, count, offset)
                for number, line in enumerate(islice(lines, limit), start=offset + 1):
                    yield parse_line(line, model, f"{ref.key}, line {number}")
        limit -= max(0, min(limit, count - offset))
        offset = max(0, offset - count)


def kept(store: ObjectStore, ref: ObjectRef, folder: Path) -> BinaryIO | None:
    """The checked copy of a set, open, so that it outlives its eviction; None where this disk cannot hold it: then the
    set is read through each time, which takes longer and no more memory.
    """
    settings = CacheSettings()
    bound = settings.model_copy(update={"bytes": settings.rows_bytes})
    try:
        path = kept_copy(folder / f"{ref.sha256}.rows", lambda path: bring(store, ref, path), bound)
        return path.open("rb")
    except (OSError, UnavailableError) as error:
        log.warning("slices.no_copy", folder=str(folder), error=str(error))
        return None


def lines_from(file: BinaryIO, size: int, count: int, first: int) -> Iterator[bytes]:
    """The lines of a copy from number `first` on, without their ends."""
    if first >= count:
        return
    file.seek(size + 8 * (first // STRIDE))
    (start,) = struct.unpack("<Q", file.read(8))
    file.seek(start)
    for number, line in enumerate(file, start=first - first % STRIDE):
        if number >= count:
            return
        if number >= first:
            yield line[: size - start].removesuffix(b"\n")  # the last line may have no end of its own
        start += len(line)


def bring(store: ObjectStore, ref: ObjectRef, path: Path) -> None:
    """Writes the copy, one process at a time: the others find it made. Raises `CorruptObjectError`."""
    with (path.parent / f".{path.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_whole(path, noted(store, ref))


def noted(store: ObjectStore, ref: ObjectRef) -> Iterator[bytes]:
    """The object's bytes as they come, then every `STRIDE`th line's place; fails at the end for changed bytes."""
    digest, starts, lines, size, tail = hashlib.sha256(), array("Q"), 0, 0, b""
    for chunk in store.open_chunks(ref.key):
        digest.update(chunk)
        at = 0
        while at < len(chunk):
            if not tail and lines % STRIDE == 0 and len(starts) <= lines // STRIDE:
                starts.append(size + at)
            end = chunk.find(b"\n", at)
            tail = b"" if end >= 0 else b"begun"
            lines, at = (lines + 1, end + 1) if end >= 0 else (lines, len(chunk))
        size += len(chunk)
        yield chunk
    if digest.hexdigest() != ref.sha256:
        raise changed(ref.key)
    yield starts.tobytes()
    yield FOOTER.pack(size, lines + bool(tail))
