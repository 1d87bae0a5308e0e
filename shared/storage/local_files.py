"""Local files on their way into and out of an object store."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from shared.errors import NotFoundError, UnavailableError


def read_chunks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a local file. Raises `NotFoundError` when it is absent or not a file,
    `UnavailableError` when it cannot be read."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError(f"the local file {path} does not exist; it cannot be stored") from None
    except OSError as error:
        raise UnavailableError(f"the local file {path} cannot be read ({error.strerror}); check its owner") from error
    with file:
        while chunk := file.read(size):
            yield chunk


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a local file by a temporary beside it: `path` holds all bytes or is not touched."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnavailableError(f"no space left in {path.parent}; free some and retry the job") from error
        raise UnavailableError(f"the local file {path} cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
