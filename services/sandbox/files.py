"""Database files as users give them: what cannot be one is refused before any child sees it."""

from pathlib import Path

from shared.errors import InvalidInputError, NotFoundError

MAGIC = b"SQLite format 3\x00"
Identity = tuple[int, int, int, int]


def identify(path: Path) -> Identity:
    """What changes when the file does: device, inode, size, time of change.

    Raises NotFoundError for a missing file, InvalidInputError for one that is empty, no SQLite, or not closed cleanly.
    """
    try:
        status = path.stat()
        if path.is_dir():
            raise InvalidInputError(f"{path} is a directory; give a SQLite file.")
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        raise NotFoundError(f"There is no database file at {path}.") from None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{str(path)!r} cannot be read: {error}.") from None
    if not head:
        raise InvalidInputError(f"{path} is empty; give a SQLite file with tables.")
    if head != MAGIC:
        raise InvalidInputError(f"{path} is not a SQLite database, or it is encrypted.")
    refuse_unfinished(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def refuse_unfinished(path: Path) -> None:
    """The file is read as immutable, so pages that still wait beside it would be missed silently."""
    for suffix in ("-wal", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.is_file() and beside.stat().st_size:
            raise InvalidInputError(f"{path} has unfinished writes in {beside.name}; close the program that writes it.")
