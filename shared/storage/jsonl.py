"""Rows in the object store: one compact JSON object a line, keys in field order, UTF-8."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from shared.contracts.refs import ObjectRef
from shared.errors import InvalidInputError, SenseError
from shared.storage.base import ObjectStore

Model = TypeVar("Model", bound=BaseModel)


class CorruptObjectError(SenseError):
    """The bytes of an object are not those that were recorded for it."""

    code = "corrupt_object"
    http_status = 409


def dump_rows(rows: Iterable[BaseModel]) -> bytes:
    """Equal rows give equal bytes. Raises `InvalidInputError` for text that is not valid Unicode."""
    lines: list[str] = []
    for row in rows:
        try:
            lines.append(row.model_dump_json())
            lines[-1].encode()
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise InvalidInputError(f"row {len(lines) + 1} cannot be written as JSON: {error}") from error
    return "".join(f"{line}\n" for line in lines).encode()


def read_rows(store: ObjectStore, ref_or_key: ObjectRef | str, model: type[Model]) -> Iterator[Model]:
    """Rows as they are read; memory stays at one chunk and one line.

    With a ref the SHA-256 is checked as the last row is handed out: a reader that runs to the end gets
    `CorruptObjectError` for changed bytes. A line that is not a row raises it too, with its number.
    """
    key = ref_or_key.key if isinstance(ref_or_key, ObjectRef) else ref_or_key
    lines = read_lines(store, key) if isinstance(ref_or_key, str) else read_checked_lines(store, ref_or_key)
    for number, line in enumerate(lines, start=1):
        yield parse_line(line, model, f"{key}, line {number}")


def read_checked_lines(store: ObjectStore, ref: ObjectRef) -> Iterator[bytes]:
    """The lines of an object, not parsed. Raises `CorruptObjectError` behind the last one for changed bytes."""
    digest = hashlib.sha256()
    yield from _lines(store.open_chunks(ref.key), digest)
    if digest.hexdigest() != ref.sha256:
        raise changed(ref.key)


def changed(key: str) -> CorruptObjectError:
    """What to say of an object that has other bytes than were recorded."""
    return CorruptObjectError(f"object {key!r} changed after it was recorded (SHA-256 differs); run its stage again")


def read_lines(store: ObjectStore, key: str) -> Iterator[bytes]:
    """The lines of an object as they are read, not parsed, not checked against a hash: for who looks at a part."""
    return _lines(store.open_chunks(key), hashlib.sha256())


def parse_line(line: bytes, model: type[Model], where: str) -> Model:
    """A line as a row. Raises `CorruptObjectError` that names `where`."""
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
