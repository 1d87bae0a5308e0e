"""Brings an artifact to the local disk: whole and checked, or not at all."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx

from shared.errors import UnavailableError
from shared.files import write_atomically


def save(answer: httpx.Response, path: Path) -> Path:
    """Writes the body of an open answer; `path` may be a folder, which takes the server's file name.

    Raises `UnavailableError` where the bytes are not those that the server announced, or cannot be written.
    """
    if path.is_dir():
        path = path / served_name(answer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, checked(answer))
    return path


def served_name(answer: httpx.Response) -> str:
    """The file name of the answer, never with a folder."""
    _, _, quoted = answer.headers.get("content-disposition", "").partition('filename="')
    return Path(quoted.partition('"')[0]).name or "artifact"


def checked(answer: httpx.Response) -> Iterator[bytes]:
    """The chunks; raises at the end where their SHA-256 is not the `ETag`."""
    digest = hashlib.sha256()
    for chunk in answer.iter_bytes():
        digest.update(chunk)
        yield chunk
    expected = answer.headers.get("etag", "").strip('"')
    if expected and digest.hexdigest() != expected:
        raise UnavailableError(f"{answer.url} arrived damaged (its SHA-256 differs); fetch it again")


def batched_bytes(parts: Iterable[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    """The same bytes in fewer pieces: a request body that is streamed."""
    held: list[bytes] = []
    amount = 0
    for part in parts:
        held.append(part)
        amount += len(part)
        if amount >= size:
            yield b"".join(held)
            held, amount = [], 0
    if held:
        yield b"".join(held)
