"""Checks of database files: what cannot be one is refused before a child sees it."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.sandbox.execution.limits import FILE_BYTES
from shared.errors import InvalidInputError, NotFoundError

MAGIC = b"SQLite format 3\x00"
HEADER_BYTES = 100
HOT_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # `journal_mode=PERSIST` leaves others behind
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
WAL_BYTES_READ = 8_000_000  # a longer log counts as unfinished
NOT_REGULAR = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
FileIdentity = tuple[int, int, int, int]


def check_database_file(path: Path, *, most_bytes: int = FILE_BYTES) -> FileIdentity:
    """Check the file and return its identity: device, inode, size, modification time.

    Never blocks, whatever the path leads to. Raises NotFoundError for a missing file, InvalidInputError for one that is
    not a regular file, empty, larger than `most_bytes`, not SQLite, or not closed cleanly.
    """
    try:
        refuse_not_regular(path, path.stat())
        status, head = read_header(path)
    except FileNotFoundError:
        raise NotFoundError(f"There is no database file at {path}; check the path.") from None
    except PermissionError:
        raise InvalidInputError(f"{path} may not be read by this user; give it read permission.") from None
    except ValueError:
        raise InvalidInputError(f"The path {str(path)!r} holds a NUL character; give one without.") from None
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror}); give a SQLite file.") from None
    if not status.st_size:
        raise InvalidInputError(f"{path} is empty; give a SQLite file with tables.")
    if status.st_size > most_bytes:
        raise InvalidInputError(
            f"{path} has {status.st_size} bytes; at most {most_bytes} are read: give a smaller file."
        )
    if not head.startswith(MAGIC):
        raise InvalidInputError(f"{path} is not a SQLite database, or it is encrypted; give a plain SQLite 3 file.")
    refuse_truncated(path, status.st_size, head)
    refuse_unfinished(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def open_database_file(path: Path) -> Iterator[int]:
    """Yield a descriptor for a child. Raises like `check_database_file` when the file cannot be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        check_database_file(path)
        raise
    try:
        # the path may lead elsewhere since it was checked
        refuse_not_regular(path, os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def create_files(paths: Sequence[Path]) -> Iterator[list[int]]:
    descriptors: list[int] = []
    try:
        for path in paths:
            descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


class FileIdentities:
    """Checks each file once, and again only when it has changed."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._known: dict[str, FileIdentity] = {}

    def identity(self, path: Path) -> FileIdentity:
        name = str(path)
        try:
            status = path.stat()
            now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            # a log or journal may appear beside a file that has not changed
            if self._known.get(name) == now and not any(map(os.path.exists, (f"{name}-wal", f"{name}-journal"))):
                return now
        except (OSError, ValueError):
            pass  # the check below reports it
        self._known[name] = check_database_file(path, most_bytes=self.most_bytes)
        return self._known[name]


def refuse_not_regular(path: Path, status: os.stat_result) -> None:
    """Opening anything but a regular file may block forever or have an effect."""
    for is_kind, kind in NOT_REGULAR:
        if is_kind(status.st_mode):
            raise InvalidInputError(f"{path} is {kind}; give a SQLite file.")


def read_header(path: Path) -> tuple[os.stat_result, bytes]:
    """Status and first bytes come from the same file, even if the path changes its target meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        refuse_not_regular(path, status)
        return status, os.read(descriptor, HEADER_BYTES)
    finally:
        os.close(descriptor)


PAGE_SIZES = frozenset(1 << bits for bits in range(9, 17))


def refuse_truncated(path: Path, size: int, head: bytes) -> None:
    """Refuse an incomplete download or copy: the header has the number of pages, where its writer maintains it."""
    page = int.from_bytes(head[16:18], "big")
    # the header has two bytes for it, and writes 65,536 as 1
    page = 65_536 if page == 1 else page
    whole = int.from_bytes(head[28:32], "big") * page
    kept = head[24:28] == head[92:96] and page in PAGE_SIZES  # otherwise SQLite reports what is wrong
    if kept and size < whole:
        raise InvalidInputError(f"{path} is cut short: {size} of its {whole} bytes are there; copy or fetch it again.")


def refuse_unfinished(path: Path) -> None:
    """Refuse a file with pages still waiting beside it: it is read as immutable, so they would be missed silently.

    What a killed program left without new content passes: a log whose pages are in the file already, and a finished
    journal of mode PERSIST.
    """
    for suffix in ("-wal", "-journal"):
        beside = path.with_name(path.name + suffix)
        if not beside.is_file():
            continue
        try:
            with beside.open("rb") as file:
                data = file.read(WAL_BYTES_READ + 1 if suffix == "-wal" else len(HOT_JOURNAL))
        except OSError as error:
            raise InvalidInputError(f"{beside} cannot be read ({error.strerror}); it belongs to {path.name}.") from None
        if data == HOT_JOURNAL if suffix == "-journal" else wal_has_new_pages(path, data):
            raise InvalidInputError(
                f"{path} has unfinished writes in {beside.name}; close the program that writes it, or, where none does "
                f"any more, bring them in: sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'."
            )


def wal_has_new_pages(path: Path, log: bytes) -> bool:
    """Whether a write-ahead log holds a committed page that the file lacks (sqlite.org/fileformat2.html)."""
    if len(log) <= WAL_HEADER_BYTES:
        return False
    if len(log) > WAL_BYTES_READ:
        return True
    size, salts = int.from_bytes(log[8:12], "big"), log[16:24]
    # in doubt the log holds something
    if not 512 <= size <= 65_536:
        return True
    pages: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    for at in range(WAL_HEADER_BYTES, len(log) - FRAME_HEADER_BYTES - size + 1, FRAME_HEADER_BYTES + size):
        frame, begin = log[at : at + FRAME_HEADER_BYTES], at + FRAME_HEADER_BYTES
        if frame[8:16] != salts:  # left from an earlier round of the log
            break
        waiting[int.from_bytes(frame[:4], "big")] = log[begin : begin + size]
        if frame[4:8] != bytes(4):  # ends a transaction
            pages |= waiting
            waiting = {}
    with path.open("rb") as file:
        for number, page in pages.items():
            file.seek((number - 1) * size)
            if file.read(size) != page:
                return True
    return False
