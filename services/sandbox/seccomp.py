"""A kernel filter (seccomp) for children: what gets past SQLite still starts, opens and reaches nothing.

The filter is a list to allow (`syscalls`): reading what was given, memory, threads, clocks. Other calls answer EPERM,
those newer than the list ENOSYS. Where the kernel or a container refuses filters, the child runs without and says so.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from services.sandbox.syscalls import (
    ALLOWED,
    CLONE,
    FCNTL,
    FCNTL_COMMANDS,
    FIRST_NEW,
    KILL,
    PRCTL,
    PRCTL_OPTIONS,
    PRLIMIT,
    SECCOMP,
    TGKILL,
    WRITING,
    Number,
)

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the numbers, AUDIT_ARCH
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
X32_BIT = 0x40000000
CLONE_THREAD = 0x00010000
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16


class Program:
    """Instructions of a classic BPF program for one machine; both machines are little endian."""

    def __init__(self, column: int, arch: int) -> None:
        self.column = column
        self.code = bytearray()
        self.add(LOAD, ARCH_AT)
        self.add(JUMP_EQUAL, arch, 1, 0)
        self.add(RETURN, KILL_PROCESS)
        self.add(LOAD, NUMBER_AT)
        self.add(JUMP_AT_LEAST, X32_BIT, 0, 1)
        self.add(RETURN, ERRNO | errno.EPERM)

    def add(self, code: int, value: int, when: int = 0, otherwise: int = 0) -> None:
        """One instruction; the jumps say how many instructions to skip."""
        self.code += struct.pack("<HBBI", code, when, otherwise, value)

    def allow(self, calls: Iterable[Number]) -> None:
        """Let these calls through, whatever their arguments."""
        for number in (call[self.column] for call in calls):
            if number is not None:
                self.add(JUMP_EQUAL, number, 0, 1)
                self.add(RETURN, ALLOW)

    def allow_where(self, call: Number, argument: int, values: Iterable[int], test: int = JUMP_EQUAL) -> None:
        """Let a call through where the test of an argument's low half holds for one of the values."""
        number, wanted = call[self.column], tuple(values)
        if number is None:
            return
        self.add(JUMP_EQUAL, number, 0, 2 + 2 * len(wanted))
        self.add(LOAD, ARGUMENTS_AT + 8 * argument)
        for value in wanted:
            self.add(test, value, 0, 1)
            self.add(RETURN, ALLOW)
        self.add(RETURN, ERRNO | errno.EPERM)

    def refuse_the_rest(self) -> None:
        """The last instructions."""
        self.add(JUMP_AT_LEAST, FIRST_NEW, 0, 1)
        self.add(RETURN, ERRNO | errno.ENOSYS)
        self.add(RETURN, ERRNO | errno.EPERM)


def program(machine: str, *, writing: bool) -> bytes:
    """The filter as the kernel takes it; with `writing` given files may be written and grow."""
    built = Program(*MACHINES[machine])
    built.allow(ALLOWED.values())
    if writing:
        built.allow(WRITING.values())
    built.allow_where(CLONE, 0, [CLONE_THREAD], JUMP_ANY_BIT)
    built.allow_where(KILL, 0, [os.getpid()])
    built.allow_where(TGKILL, 0, [os.getpid()])
    built.allow_where(PRLIMIT, 0, [0])
    built.allow_where(FCNTL, 1, FCNTL_COMMANDS)
    built.allow_where(PRCTL, 0, PRCTL_OPTIONS)
    built.refuse_the_rest()
    return bytes(built.code)


class FilterProgram(ctypes.Structure):
    """The kernel's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def install(*, writing: bool) -> bool:
    """Put every thread of this process, and those to come, under the filter; False where the kernel refuses it."""
    machine = os.uname().machine  # the module `platform` takes 4 ms to import
    if machine not in MACHINES:
        return False
    code = program(machine, writing=writing)
    filled = FilterProgram(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    number = SECCOMP[MACHINES[machine][0]]
    flags = SECCOMP_FILTER_FLAG_TSYNC
    return not libc.syscall(ctypes.c_long(number), SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(filled))


def walls(pid: int) -> dict[str, bool]:
    """Which of the kernel's walls stand around a process: `no_new_privileges` and `seccomp`."""
    from pathlib import Path  # the child asks nothing and starts sooner without

    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {"no_new_privileges": fields.get("NoNewPrivs") == "1", "seccomp": fields.get("Seccomp") == "2"}
