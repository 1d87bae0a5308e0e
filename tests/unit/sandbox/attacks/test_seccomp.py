"""The kernel's filter: what a child may no longer do, and what it still can."""

import json
import os
import platform
import re
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.sandbox.seccomp import MACHINES, program
from services.sandbox.syscalls import CHANGING_FILES, REACHING_OUT, TOO_NEW, WRITING
from tests.unit.sandbox.attacks.trial import FILTERS

NEEDS_FILTERS = pytest.mark.skipif(not FILTERS, reason="this kernel has no seccomp filters")
ROOT = Path(__file__).resolve().parents[4]
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
TRY_ALL = """
import ctypes, json, os, resource, signal, socket, subprocess, sys, threading
import apsw
from pathlib import Path
from services.sandbox.limits import Limits
from services.sandbox.rlimits import allow_cpu, wall_in
from services.sandbox.seccomp import walls

folder, parent = Path(sys.argv[1]), os.getppid()
(folder / "there").write_text("x")
ready, go = threading.Event(), threading.Event()
seen = {}

def other_thread():
    ready.set()
    go.wait()
    attempt("other thread", lambda: open(folder / "new", "w"))

def attempt(name, action):
    try:
        action()
        seen[name] = "done"
    except OSError as error:
        seen[name] = type(error).__name__

thread = threading.Thread(target=other_thread)
thread.start()
ready.wait()
wall_in(Limits(), file_bytes=int(sys.argv[2]))
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

attempt("fork", os.fork)
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("spawn", lambda: subprocess.run(["/bin/true"], check=True))
attempt("socket", socket.socket)
attempt("socketpair", socket.socketpair)
attempt("kill parent", lambda: os.kill(parent, 0))
attempt("kill all", lambda: os.kill(-1, 0))
attempt("limits of parent", lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE))
attempt("ptrace", lambda: call("ptrace", 16, parent, 0, 0))
attempt("memfd", lambda: os.memfd_create("x"))
attempt("unshare", lambda: call("unshare", 0))
attempt("mount", lambda: call("mount", b"none", bytes(folder), b"tmpfs", 0, None))
attempt("chroot", lambda: os.chroot(folder))
attempt("write", lambda: open(folder / "new", "w"))
attempt("append", lambda: open(folder / "there", "a"))
attempt("create", lambda: os.open(folder / "new", os.O_RDONLY | os.O_CREAT))
attempt("truncate", lambda: os.truncate(folder / "there", 0))
attempt("temporary", lambda: os.open(folder, os.O_TMPFILE | os.O_RDWR))
attempt("unlink", lambda: os.unlink(folder / "there"))
attempt("rename", lambda: os.rename(folder / "there", folder / "new"))
attempt("mkdir", lambda: os.mkdir(folder / "new"))
attempt("rmdir", lambda: os.rmdir(folder))
attempt("link", lambda: os.link(folder / "there", folder / "new"))
attempt("symlink", lambda: os.symlink("/", folder / "new"))
attempt("pipe file", lambda: os.mkfifo(folder / "new"))
attempt("chmod", lambda: os.chmod(folder / "there", 0o777))
attempt("utime", lambda: os.utime(folder / "there", (1, 1)))
attempt("xattr", lambda: os.setxattr(folder / "there", "user.x", b"x"))
attempt("read", lambda: (folder / "there").read_text())
attempt("list", lambda: os.listdir(folder))
attempt("pipe", os.pipe)
attempt("random", lambda: os.urandom(8))
attempt("kill self", lambda: os.kill(os.getpid(), 0))
attempt("own limits", lambda: allow_cpu(5))
attempt("new thread", lambda: threading.Thread(target=lambda: seen.setdefault("ran", "done")).start())
attempt("sqlite", lambda: apsw.Connection(sys.argv[3], flags=apsw.SQLITE_OPEN_READONLY).execute("SELECT * FROM t"))
go.set()
thread.join()
print(json.dumps({**seen, **walls(os.getpid())}))
"""
NEVER = (
    *("fork", "exec", "spawn", "socket", "socketpair", "kill parent", "kill all", "limits of parent", "ptrace"),
    *("memfd", "unshare", "mount", "chroot", "unlink", "rename", "mkdir", "rmdir", "link", "symlink", "pipe file"),
    *("chmod", "utime", "xattr", "truncate"),
)
TO_WRITE = ("write", "append", "create", "temporary", "other thread")
STILL = ("read", "list", "pipe", "random", "kill self", "own limits", "new thread", "ran", "sqlite")


def try_all(folder: Path, file_bytes: int) -> dict[str, Any]:
    """What became of each attempt: `done`, or the error's name."""
    database = folder / "d.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE t(a)")
    connection.close()
    said = subprocess.run(
        [sys.executable, "-c", TRY_ALL, str(folder), str(file_bytes), str(database)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(said.stdout)
    assert found["seccomp"] and found["no_new_privileges"]
    return found


@NEEDS_FILTERS
def test_a_reading_child_can_only_read(tmp_path: Path) -> None:
    found = try_all(tmp_path, 0)
    assert {name: found[name] for name in (*NEVER, *TO_WRITE)} == dict.fromkeys((*NEVER, *TO_WRITE), "PermissionError")
    assert {name: found[name] for name in STILL} == dict.fromkeys(STILL, "done")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.sqlite", "there"]


@NEEDS_FILTERS
def test_a_building_child_can_write_but_reaches_no_further(tmp_path: Path) -> None:
    found = try_all(tmp_path, 1_000_000)
    still = (*STILL, "write", "append", "create")
    assert {name: found[name] for name in NEVER} == dict.fromkeys(NEVER, "PermissionError")
    assert {name: found[name] for name in still} == dict.fromkeys(still, "done")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("writing", [False, True])
def test_programs_are_whole(machine: str, writing: bool) -> None:
    """Jumps stay inside, the last instruction returns, and every call of the lists that the machine has is in it."""
    code = program(machine, writing=writing)
    steps = [struct.unpack_from("<HBBI", code, place) for place in range(0, len(code), 8)]
    assert len(steps) < 4096  # the kernel's limit
    for place, (operation, when, otherwise, _) in enumerate(steps):
        if operation & 7 == 5:
            assert place + 1 + max(when, otherwise) < len(steps)
    assert steps[-1][0] == 6
    column = MACHINES[machine][0]
    compared = {value for operation, _, _, value in steps if operation == 0x15}
    lists = (REACHING_OUT, CHANGING_FILES, TOO_NEW) if writing else (REACHING_OUT, CHANGING_FILES, TOO_NEW, WRITING)
    assert {call[column] for calls in lists for call in calls.values()} - {None} <= compared


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not HEADER.exists(), reason="needs the kernel's header for x86_64"
)
def test_numbers_agree_with_the_kernels_header() -> None:
    known = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    calls = {**REACHING_OUT, **CHANGING_FILES, **WRITING, **TOO_NEW}
    ours = {name: str(numbers[0]) for name, numbers in calls.items() if name in known}
    assert len(ours) > 80
    assert ours == {name: known[name] for name in ours}
