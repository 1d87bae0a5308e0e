"""What parent and child exchange: messages, shared progress, and open files.

A message is four bytes of length (big endian), then that many bytes of JSON. An empty frame means that a child with one
task has read its request and begins. The shared memory holds the running statement, its start and the walls around the
child. It spares a message per statement and lets quick answers travel together: when a child is killed, the parent
reads there which statement it was in, and another child runs those whose answers had not left. Files travel as
descriptors over a socket: the parent opens them and the child opens none by name.
"""

import _socket
import array
import ctypes
import errno
import json
import mmap
import os
import re
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apsw

ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False)
HEADER = struct.Struct(">I")
STARTED = HEADER.pack(0)
MAX_FRAME = 256 * 1024 * 1024


def pack(message: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    body = ENCODER.encode(message).encode("ascii")
    return HEADER.pack(len(body)) + body


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_exactly(descriptor: int, size: int) -> bytes | None:
    """None when the other end closed first."""
    parts: list[bytes] = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_message(descriptor: int) -> dict[str, Any] | None:
    """None at the end of the pipe."""
    header = read_exactly(descriptor, HEADER.size)
    if header is None:
        return None
    body = read_exactly(descriptor, HEADER.unpack(header)[0])
    message: dict[str, Any] | None = None if body is None else json.loads(body)
    return message


PROGRESS_BYTES = 16
NUMBER_BITS = 12
MAX_STATEMENTS = (1 << NUMBER_BITS) - 2  # statements of one request
NOT_BEGUN = -1
SECCOMP_WALL, LANDLOCK_WALL = 1, 2  # bits of the walls
ALL_WALLS = SECCOMP_WALL | LANDLOCK_WALL
EXIT_WITHOUT_WALLS = 97  # exit status of a child that lacks a wall which its limits require


class Progress:
    """The shared record; the parent creates the memory, the child maps the descriptor it inherited.

    Each part is one machine word, written and read at once: a child can be stopped in the middle of a longer write, and
    then a statement would look as if it had begun long ago.
    """

    def __init__(self, descriptor: int) -> None:
        self._word = memoryview(mmap.mmap(descriptor, PROGRESS_BYTES)).cast("Q")
        self.set(NOT_BEGUN)

    def set(self, number: int) -> None:
        """Statement `number` begins now, by the machine's monotonic clock, which both processes share."""
        self._word[0] = (time.monotonic_ns() // 1000) << NUMBER_BITS | (number + 1)

    def set_walls(self, walls: int) -> None:
        self._word[1] = walls

    def walls(self) -> int:
        return self._word[1]

    def get(self) -> tuple[int, float]:
        """The statement that runs or ran last, and when it began, in seconds."""
        word = self._word[0]
        return (word & (1 << NUMBER_BITS) - 1) - 1, (word >> NUMBER_BITS) / 1e6


def create_progress_memory() -> int:
    """The caller closes the descriptor."""
    descriptor = os.memfd_create("sense-progress")
    os.ftruncate(descriptor, PROGRESS_BYTES)
    return descriptor


GIVEN_FOLDER = "/given-files"  # exists nowhere
GIVEN_PATH = re.compile(rb"/given-files/(\d+)")
MAX_FILES = 253  # descriptors in one message (the kernel's SCM_MAX_FD)
OpenCall = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, use_errno=True)


def given_path(descriptor: int) -> str:
    return f"{GIVEN_FOLDER}/{descriptor}"


def _open_given(path: bytes, _flags: int, _mode: int) -> int:
    """Replaces the `open` of the C library; SQLite closes what it gets."""
    found = GIVEN_PATH.fullmatch(path)
    try:
        if found is not None:
            # a copy, because the file may be opened again after SQLite closes this one
            return os.dup(int(found[1]))
    except OSError as error:
        ctypes.set_errno(error.errno or errno.EBADF)
        return -1
    ctypes.set_errno(errno.EACCES)
    return -1


# Must stay alive as long as SQLite may call it.
OPEN_GIVEN = OpenCall(_open_given)


def open_only_given() -> None:
    """From here on SQLite opens only files from the parent, whether or not the kernel's walls stand."""
    unix = apsw.VFS("file_count", "unix")
    if not unix.xSetSystemCall("open", ctypes.cast(OPEN_GIVEN, ctypes.c_void_p).value or 0):
        raise RuntimeError("this build of SQLite keeps its own way of opening files")


class FileReceiver:
    def __init__(self, descriptor: int) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)

    def take(self, count: int) -> list[int]:
        found = array.array("i")
        if not count:
            return []
        received, extra, _, _ = self._socket.recvmsg(1, _socket.CMSG_SPACE(count * found.itemsize))
        for level, kind, data in extra:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
        if not received or len(found) != count:
            raise OSError(errno.EMFILE, "not all descriptors arrived")
        return list(found)
