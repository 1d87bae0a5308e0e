"""A child of the sandbox that has been taken over: it tries every way out that there is, and tells what came of it.

Started by `ChildProcess` as any other child is. An attempt's result is `done`, or the error's number.
"""

import ctypes
import fcntl
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from services.sandbox.execution import walls
from services.sandbox.execution.child_loop import serve_requests
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.protocol import given_path
from services.sandbox.execution.walls import ALLOWED_CALLS, CLONE, FCNTL, KILL, PRCTL, PRLIMIT, TGKILL, WRITING_CALLS

LIBC = ctypes.CDLL(None, use_errno=True)
COLUMN = walls.MACHINES.get(os.uname().machine, (0, 0))[0]
KNOWN = {
    call[COLUMN]
    for call in (*ALLOWED_CALLS.values(), *WRITING_CALLS.values(), CLONE, FCNTL, KILL, PRCTL, PRLIMIT, TGKILL)
}
FURTHEST = 600  # a hundred and more beyond today's last call
PTRACE_SEIZE = 0x4206
PROBES = (335, 336)  # x86_64: uretprobe and uprobe pass filters by; the kernel ends a process that calls them itself


def call(name: str, *arguments: Any) -> None:
    """A function of the C library."""
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def raw(x86_64: int, aarch64: int, *arguments: Any) -> None:
    """A kernel call by its number."""
    if LIBC.syscall(ctypes.c_long((x86_64, aarch64)[COLUMN]), *arguments) == -1:
        raise OSError(ctypes.get_errno(), "syscall")


def by_name(place: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Reading, writing and changing files that exist and that do not."""
    folder, secret = Path(place["folder"]), Path(place["secret"])
    return {
        "read a secret": secret.read_bytes,
        "read another database": Path(place["other"]).read_bytes,
        "open another database": lambda: open_sqlite(place["other"]),
        "read its own database by name": Path(place["own"]).read_bytes,
        "read the password file": Path("/etc/passwd").read_bytes,
        "list home": lambda: list(Path(place["home"]).iterdir()),
        "list a folder": lambda: list(folder.iterdir()),
        "parent's environment": Path(f"/proc/{os.getppid()}/environ").read_bytes,
        "parent's memory": lambda: os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)),
        "sibling's environment": Path(f"/proc/{place['sibling']}/environ").read_bytes,
        "own program": Path(__file__).read_bytes,
        "write": lambda: (folder / "new").write_text("x"),
        "append": lambda: os.close(os.open(secret, os.O_WRONLY | os.O_APPEND)),
        "temporary": lambda: os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR)),
        "write below /tmp": lambda: Path("/tmp/sense_attack_wall").write_text("x"),
        "write to /dev/shm": lambda: Path("/dev/shm/sense_attack_wall").write_text("x"),
        "truncate": lambda: os.truncate(secret, 0),
        "unlink": secret.unlink,
        "rename": lambda: secret.rename(folder / "new"),
        "mkdir": (folder / "new").mkdir,
        "rmdir": (folder / "empty").rmdir,
        "link": lambda: os.link(secret, folder / "new"),
        "symlink": lambda: (folder / "new").symlink_to("/"),
        "pipe file": lambda: os.mkfifo(folder / "new"),
        "open tree": lambda: raw(428, 428, -100, b"/", 0),
    }


def open_sqlite(path: str) -> None:
    """By a connection of its own; SQLite's error as the one that it stands for."""
    try:
        apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY).execute("SELECT * FROM sqlite_master").fetchall()
    except apsw.CantOpenError as error:
        raise PermissionError(1, str(error)) from error


def to_others(place: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Signals, traces and addresses."""
    parent, sibling, port = os.getppid(), place["sibling"], place["port"]
    return {
        "kill parent": lambda: os.kill(parent, 0),
        "kill sibling": lambda: os.kill(sibling, signal.SIGKILL),
        "own a descriptor for the sibling": lambda: signal_by_descriptor(sibling),
        "trace parent": lambda: call("ptrace", PTRACE_SEIZE, parent, 0, 0),
        "read parent's memory": lambda: read_memory(parent),
        "connect": lambda: connect(socket.AF_INET, ("127.0.0.1", port)),
        "connect to an abstract name": lambda: connect(socket.AF_UNIX, place["abstract"]),
    }


class Span(ctypes.Structure):
    """The kernel's `struct iovec`."""

    _fields_ = (("begin", ctypes.c_void_p), ("size", ctypes.c_size_t))


def read_memory(pid: int) -> None:
    """Some bytes of another process; with the same program in it, what lies here lies mostly there too."""
    here = ctypes.create_string_buffer(8)
    span = Span(ctypes.addressof(here), 8)
    raw(310, 270, pid, ctypes.byref(span), 1, ctypes.byref(span), 1, 0)


def signal_by_descriptor(pid: int) -> None:
    """SIGKILL to the owner of a pipe when something arrives in it; an error where it was not sent."""
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, pid)
    fcntl.fcntl(reader, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writer, b"x")
    os.kill(pid, 0)


def connect(family: int, address: Any) -> None:
    """A connection out."""
    with socket.socket(family, socket.SOCK_STREAM) as out:
        out.settimeout(2)
        out.connect(address)


def of_the_kernel(place: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """What only the filter refuses."""
    secret, parent = place["secret"], os.getppid()
    return {
        "fork": os.fork,
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "spawn": lambda: subprocess.run(["/bin/true"], check=True),
        "kill all": lambda: os.kill(-1, 0),
        "limits of parent": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE),
        "priority of parent": lambda: os.setpriority(os.PRIO_PROCESS, parent, 1),
        "processors of parent": lambda: os.sched_setaffinity(parent, {0}),
        "socket": socket.socket,
        "socketpair": socket.socketpair,
        "memfd": lambda: os.memfd_create("x"),
        "secret memory": lambda: raw(447, 447, 0),
        "pidfd": lambda: raw(434, 434, parent, 0),
        "io_uring": lambda: raw(425, 425, 4, bytes(256)),
        "watch files": lambda: call("inotify_init1", 0),
        "unshare": lambda: call("unshare", 0),
        "user namespace": lambda: call("unshare", 0x10000000),
        "mount": lambda: call("mount", b"none", b"/", b"tmpfs", 0, None),
        "chroot": lambda: os.chroot("/"),
        "chdir": lambda: os.chdir("/"),
        "chmod": lambda: Path(secret).chmod(0o777),
        "utime": lambda: os.utime(secret, (1, 1)),
        "xattr": lambda: os.setxattr(secret, "user.x", b"x"),
        "dumpable": lambda: call("prctl", 4, 0, 0, 0, 0),
        "cached pages": lambda: raw(451, 451, 0, bytes(16), bytes(40), 0),
        "ioctl": lambda: fcntl.ioctl(0, 0x541B, bytes(8)),
    }


def still(place: dict[str, Any], files: list[int]) -> dict[str, Callable[[], object]]:
    """What it must still be able to do."""
    given = given_path(files[0])
    writing = {"write the given file": lambda: os.write(files[1], b"x")} if files[1:] else {}
    return {
        **writing,
        "read the given file": lambda: os.pread(files[0], 16, 0),
        "query the given file": lambda: apsw.Connection(given, flags=1).execute("SELECT * FROM t").fetchall(),
        "pipe": os.pipe,
        "random": lambda: os.urandom(8),
        "kill self": lambda: os.kill(os.getpid(), 0),
        "own limits": lambda: walls.allow_cpu(5),
        "new thread": run_thread,
        "local time": lambda: apsw.Connection(":memory:").execute("SELECT datetime('now', 'localtime')").fetchall(),
    }


def run_thread() -> None:
    """A thread that ends."""
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()


def attempt(action: Callable[[], object]) -> str | int:
    """`done`, or the error's number."""
    try:
        action()
    except OSError as error:
        return error.errno or 0
    return "done"


def sweep() -> dict[str, int]:
    """The answer to every number that is on no list: none of them may reach the kernel."""
    found = {}
    for number in range(FURTHEST):
        if number not in KNOWN and number not in PROBES:
            assert LIBC.syscall(ctypes.c_long(number), -1, -1, -1, -1, -1, -1) == -1
            found[str(number)] = ctypes.get_errno()
    return found


def answer(request: dict[str, Any], files: list[int], limits: Limits) -> dict[str, Any]:
    """All attempts of the groups that the request names."""
    groups = {"files": by_name(request), "others": to_others(request), "kernel": of_the_kernel(request)}
    groups["still"] = still(request, files)
    found = {name: {what: attempt(action) for what, action in groups[name].items()} for name in request["groups"]}
    seen = {"environment": dict(os.environ), "open": descriptors()}
    return {**found, **seen, "sweep": sweep() if request.get("sweep") else {}}


def descriptors() -> list[int]:
    """Those that are open."""
    found = []
    for number in range(256):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


if __name__ == "__main__":
    serve_requests(answer, writes=False)
