"""Files that a child is given: its parent opens them and hands their descriptors over, the child opens none by name.

Parent and child share a socket for nothing but descriptors; how many come with a request stands in its `given`. SQLite
opens a path of `given_path`, and every other path fails, whether or not the kernel's walls stand.
"""

import _socket  # the module `socket` would cost each start of a child some milliseconds
import array
import ctypes
import errno
import os
import re

import apsw

FOLDER = "/given-files"  # exists nowhere
GIVEN = re.compile(rb"/given-files/(\d+)")
MOST = 253  # descriptors in one message (the kernel's SCM_MAX_FD)
OpenCall = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, use_errno=True)


def given_path(descriptor: int) -> str:
    """The name under which SQLite opens a given file."""
    return f"{FOLDER}/{descriptor}"


def _open(path: bytes, _flags: int, _mode: int) -> int:
    """In place of the C library's `open`; SQLite closes what it gets."""
    found = GIVEN.fullmatch(path)
    try:
        if found is not None:
            return os.dup(int(found[1]))
    except OSError as error:
        ctypes.set_errno(error.errno or errno.EBADF)
        return -1
    ctypes.set_errno(errno.EACCES)
    return -1


OPEN = OpenCall(_open)


def open_only_given() -> None:
    """From here on SQLite opens given files alone, in this whole process."""
    unix = apsw.VFS("given", "unix")
    if not unix.xSetSystemCall("open", ctypes.cast(OPEN, ctypes.c_void_p).value or 0):
        raise RuntimeError("this build of SQLite keeps its own way of opening files")


class Receiver:
    """The child's end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)

    def take(self, count: int) -> list[int]:
        """The next `count` descriptors."""
        found = array.array("i")
        if not count:
            return []
        said, extra, _, _ = self._socket.recvmsg(1, _socket.CMSG_SPACE(count * found.itemsize))
        for level, kind, data in extra:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
        if not said or len(found) != count:
            raise OSError(errno.EMFILE, "not all descriptors arrived")
        return list(found)
