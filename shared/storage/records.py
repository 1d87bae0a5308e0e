"""Records in the object store: one compact JSON object per line, keys in field order, UTF-8.

`read_slice` reads some records of a large object at their own cost: the first slice on a machine copies the object to
its disk, checks its SHA-256 and notes where lines begin; later ones seek. Copies are named by their content, shared by
the machine's workers and limited as a whole (`shared.storage.cache`).
"""

import fcntl
import hashlib
import os
import struct
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar, overload

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from shared.contracts.base import ObjectRef
from shared.errors import InvalidInputError, SenseError, UnavailableError
from shared.files import write_atomically
from shared.logging import get_logger
from shared.storage.cache import CacheSettings, cached_copy
from shared.storage.store import ObjectStore

Model = TypeVar("Model", bound=BaseModel)


class CorruptObjectError(SenseError):
    """An object holds other bytes than were recorded for it."""

    code = "corrupt_object"
    http_status = 409


def dump_records(rows: Iterable[BaseModel]) -> bytes:
    """Equal records give equal bytes. Raises `InvalidInputError` for text that is not valid Unicode."""
    lines: list[str] = []
    for row in rows:
        try:
            lines.append(row.model_dump_json())
            lines[-1].encode()
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise InvalidInputError(f"row {len(lines) + 1} cannot be written as JSON: {error}") from error
    return "".join(f"{line}\n" for line in lines).encode()


def read_records(store: ObjectStore, ref_or_key: ObjectRef | str, model: type[Model]) -> Iterator[Model]:
    """Reads lazily; memory stays at one chunk and one line.

    With a ref the SHA-256 is checked after the last record: a reader that runs to the end gets `CorruptObjectError` for
    changed bytes. So does a line that is no record, with its number.
    """
    key = ref_or_key.key if isinstance(ref_or_key, ObjectRef) else ref_or_key
    lines = read_lines(store, key) if isinstance(ref_or_key, str) else read_checked_lines(store, ref_or_key)
    for number, line in enumerate(lines, start=1):
        yield parse_line(line, model, f"{key}, line {number}")


def read_checked_lines(store: ObjectStore, ref: ObjectRef) -> Iterator[bytes]:
    """The lines of an object, not parsed. Raises `CorruptObjectError` after the last one if bytes have changed."""
    digest = hashlib.sha256()
    yield from _lines(store.open_chunks(ref.key), digest)
    if digest.hexdigest() != ref.sha256:
        raise changed(ref.key)


def changed(key: str) -> CorruptObjectError:
    return CorruptObjectError(f"object {key!r} changed after it was recorded (SHA-256 differs); run its stage again")


def read_lines(store: ObjectStore, key: str) -> Iterator[bytes]:
    return _lines(store.open_chunks(key), hashlib.sha256())


def parse_line(line: bytes, model: type[Model], where: str) -> Model:
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = f"{field}: {first['msg']}" if field else first["msg"]
        raise CorruptObjectError(f"{where} is not a {model.__name__} row ({reason}); write the object again") from None


def _lines(chunks: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    """Splits at line feeds only: other line separators are legal inside JSON strings."""
    rest: list[bytes] = []
    for chunk in chunks:
        digest.update(chunk)
        head, *others = chunk.split(b"\n")
        rest.append(head)
        for other in others:
            yield b"".join(rest)
            rest = [other]
    if tail := b"".join(rest):
        yield tail


M = TypeVar("M", bound=BaseModel)
SMALL = 4 << 20  # bytes, read whole in about the time of one request
STRIDE = 64  # every STRIDEth line's place is noted
log = get_logger()
FOOTER = struct.Struct("<QQ")  # after data and notes: bytes of data, number of lines


def read_slice(
    store: ObjectStore, refs: Iterable[ObjectRef], offset: int, limit: int, model: type[M], folder: Path
) -> Iterator[M]:
    """Records `offset` to `offset + limit` of these objects in sequence. Large ones are cached in `folder`.

    Raises `CorruptObjectError` if bytes have changed.
    """
    for ref in refs:
        if limit <= 0:
            return
        count, copy = 0, None if ref.size <= SMALL else open_copy(store, ref, folder)
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


def open_copy(store: ObjectStore, ref: ObjectRef, folder: Path) -> BinaryIO | None:
    """The checked copy of an object, open, so that it outlives its eviction.

    None if this disk cannot hold it: the object is then read through each time, slower and with no more memory.
    """
    settings = CacheSettings()
    bound = settings.model_copy(update={"bytes": settings.records_bytes})
    try:
        path = cached_copy(folder / f"{ref.sha256}.rows", lambda path: bring(store, ref, path), bound)
        return path.open("rb")
    except (OSError, UnavailableError) as error:
        log.warning("slices.no_copy", folder=str(folder), error=str(error))
        return None


def lines_from(file: BinaryIO, size: int, count: int, first: int) -> Iterator[bytes]:
    if first >= count:
        return
    file.seek(size + 8 * (first // STRIDE))
    (start,) = struct.unpack("<Q", file.read(8))
    file.seek(start)
    for number, line in enumerate(file, start=first - first % STRIDE):
        if number >= count:
            return
        if number >= first:
            yield line[: size - start].removesuffix(b"\n")  # the last line may have no line feed
        start += len(line)


def bring(store: ObjectStore, ref: ObjectRef, path: Path) -> None:
    """One process at a time writes the copy; the others wait and find it. Raises `CorruptObjectError`."""
    # The dot hides the lock file from the cache, which removes it as a leftover after a day.
    with (path.parent / f".{path.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_atomically(path, noted(store, ref))


def noted(store: ObjectStore, ref: ObjectRef) -> Iterator[bytes]:
    """Yields the object's bytes as they arrive, then the place of every `STRIDE`th line.

    Raises `CorruptObjectError` at the end if bytes have changed.
    """
    digest, starts, lines, size, tail = hashlib.sha256(), array("Q"), 0, 0, b""
    for chunk in store.open_chunks(ref.key):
        digest.update(chunk)
        at = 0
        while at < len(chunk):
            if not tail and lines % STRIDE == 0 and len(starts) <= lines // STRIDE:
                starts.append(size + at)
            end = chunk.find(b"\n", at)
            # A chunk may end inside a line; its number and place are noted only once.
            tail = b"" if end >= 0 else b"begun"
            lines, at = (lines + 1, end + 1) if end >= 0 else (lines, len(chunk))
        size += len(chunk)
        yield chunk
    if digest.hexdigest() != ref.sha256:
        raise changed(ref.key)
    yield starts.tobytes()
    yield FOOTER.pack(size, lines + bool(tail))


COPY_BYTES = 1 << 20


class Spool(Sequence[M], Generic[M]):
    """Records of one model in an unnamed temporary file, as a sequence; 16 bytes of memory per record.

    A view by `arranged` shares the file: the same records in another order, or some of them.
    """

    def __init__(self, model: type[M], rows: Iterable[M] = ()) -> None:
        self.model = model
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the last view of it)
        self.starts, self.sizes = array("Q"), array("Q")
        self.end = 0
        for row in rows:
            self.append(row)

    def append(self, row: M) -> None:
        line = dump_records([row])
        self.file.seek(self.end)
        self.file.write(line)
        self.starts.append(self.end)
        self.sizes.append(len(line))
        self.end += len(line)

    def arranged(self, places: Iterable[int]) -> "Spool[M]":
        # Not by the constructor, which opens a file.
        view = Spool.__new__(type(self))
        view.model, view.file, view.end = self.model, self.file, self.end
        view.starts, view.sizes = array("Q"), array("Q")
        for place in places:
            view.starts.append(self.starts[place])
            view.sizes.append(self.sizes[place])
        return view

    def lines(self) -> Iterator[bytes]:
        for start, size in zip(self.starts, self.sizes, strict=True):
            self.file.seek(start)
            yield self.file.read(size)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[M]:
        return map(self.model.model_validate_json, self.lines())

    @overload
    def __getitem__(self, place: int) -> M: ...

    @overload
    def __getitem__(self, place: slice) -> "Spool[M]": ...

    def __getitem__(self, place: int | slice) -> "M | Spool[M]":
        if isinstance(place, slice):
            return self.arranged(range(len(self))[place])
        at = range(len(self))[place]
        self.file.seek(self.starts[at])
        return self.model.model_validate_json(self.file.read(self.sizes[at]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equality is by content, which changes
