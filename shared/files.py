"""Local files in chunks and whole, and lines of files that programs write.

Only a line feed ends a line: `str.splitlines` and httpx's `iter_lines` also split at U+2028, U+0085, form feeds and
others, which JSON leaves as they are inside strings.
"""

import errno
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from shared.errors import NotFoundError, UnavailableError


def split_lines(text: str) -> list[str]:
    """A carriage return before the line feed is part of the line's end; a byte order mark is left out."""
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    return lines if lines[-1] else lines[:-1]


def parse_json_lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in split_lines(data.decode()) if line.strip()]


def iter_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines as their bytes arrive; invalid UTF-8 is replaced."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def read_chunks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """Raises `NotFoundError` if the file is absent or not a file, `UnavailableError` if it cannot be read."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError(f"the local file {path} does not exist; it cannot be stored") from None
    except OSError as error:
        raise UnavailableError(f"the local file {path} cannot be read ({error.strerror}); check its owner") from error
    with file:
        while chunk := file.read(size):
            yield chunk


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a temporary file and renames it: `path` holds all bytes or is not touched."""
    # The name is cut, so that the suffix cannot push it over the limit of the file system.
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            # Before the rename, or a crash could leave the new name without its bytes.
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnavailableError(f"no space left in {path.parent}; free some and retry the job") from error
        raise UnavailableError(f"the local file {path} cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
