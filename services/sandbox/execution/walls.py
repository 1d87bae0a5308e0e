"""The walls that a child puts around itself before it reads any SQL: resource limits, Landlock, seccomp.

Landlock forbids files by name, TCP, and signals beyond the process. Nothing is allowed by name, so there is nothing to
list: a child reads and writes only files that were passed to it open. Newer kernels handle more rights
(docs.kernel.org/userspace-api/landlock.html); all that a kernel knows are forbidden. Seccomp is a list of allowed
system calls: reading passed files, memory, threads, clocks. Other calls give EPERM, those newer than the list ENOSYS.
Where the kernel or a container refuses a wall, the child runs without it and reports that.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import select
import struct
import threading
from collections.abc import Iterable

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.protocol import (
    ALL_WALLS,
    EXIT_WITHOUT_WALLS,
    LANDLOCK_WALL,
    SECCOMP_WALL,
    Progress,
    open_only_given,
)

CREATE_RULESET, RESTRICT_SELF = 444, 446  # the same on every machine
VERSION_FLAG = 1
PR_SET_NO_NEW_PRIVS = 38
FILE_RIGHTS = (13, 14, 15, 15, 16)  # rights over files that versions 1 to 5 know, as a number of low bits
NET_VERSION, TCP_RIGHTS = 4, 0b11  # bind and connect
SCOPE_VERSION, SCOPES = 6, 0b11  # abstract sockets and signals


class LandlockRuleset(ctypes.Structure):
    """The kernel's `struct landlock_ruleset_attr`; an older kernel accepts the longer form if the rest is zero."""

    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def landlock_version() -> int:
    """0 if Landlock is missing or off."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), VERSION_FLAG)))


def restrict_with_landlock() -> int:
    """Restrict this thread and those that it starts. Returns the version that holds, 0 for none."""
    found = landlock_version()
    if not found:
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    rules = LandlockRuleset((1 << FILE_RIGHTS[min(found, len(FILE_RIGHTS)) - 1]) - 1, 0, 0)
    rules.net = TCP_RIGHTS if found >= NET_VERSION else 0
    rules.scopes = SCOPES if found >= SCOPE_VERSION else 0
    size = ctypes.c_size_t(ctypes.sizeof(rules))
    ruleset = libc.syscall(ctypes.c_long(CREATE_RULESET), ctypes.byref(rules), size, 0)
    # without root the kernel accepts no ruleset before this
    if ruleset < 0 or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return 0
    held = not libc.syscall(ctypes.c_long(RESTRICT_SELF), ruleset, 0)
    libc.close(ruleset)
    return found if held else 0


CallNumber = tuple[int | None, int | None]
CallNumbers = dict[str, CallNumber]

# System calls that a walled-in child may make, with their numbers on x86_64 and aarch64 (None: not there). Numbers are
# part of Linux's stable interface: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
# None of these names a file to open, another process, an address or a namespace.
ALLOWED_CALLS: CallNumbers = {
    # open descriptors
    "read": (0, 63),
    "pread64": (17, 67),
    "readv": (19, 65),
    "preadv": (295, 69),
    "write": (1, 64),
    "writev": (20, 66),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "fadvise64": (221, 223),
    "recvmsg": (47, 212),  # on the socket over which the parent sends files
    # a file's metadata, never its content: SQLite resolves paths before it opens one
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    # memory
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    # its threads, and waiting
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # signals of the process itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    # clocks, random numbers, identity of the process
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "setrlimit": (160, 164),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "uname": (63, 160),
    "sysinfo": (99, 179),
}
# For a child that writes files.
WRITING_CALLS: CallNumbers = {
    "pwrite64": (18, 68),
    "pwritev": (296, 70),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
}
# Allowed with some arguments only.
CLONE, KILL, TGKILL, PRLIMIT = (56, 220), (62, 129), (234, 131), (302, 261)
FCNTL, PRCTL = (72, 25), (157, 167)
# Not F_SETOWN and F_SETSIG: the owner of a descriptor gets a signal, SIGKILL too, when something happens on it.
FCNTL_COMMANDS = (
    *(fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL),
    *(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
)
PRCTL_OPTIONS = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: names of threads and of memory
# From here on both machines share numbers; a caller that gets ENOSYS falls back to an older call.
FIRST_NEW_CALL = 424
SECCOMP_CALL = (317, 277)


MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column in the table, AUDIT_ARCH
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
X32_BIT = 0x40000000
CLONE_THREAD = 0x00010000
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16


class SeccompProgram:
    """Instructions of a classic BPF program for one machine; both machines are little endian."""

    def __init__(self, column: int, arch: int) -> None:
        self.column = column
        self.code = bytearray()
        # numbers mean other calls on another architecture, so that is checked first
        self.add(LOAD, ARCH_AT)
        self.add(JUMP_EQUAL, arch, 1, 0)
        self.add(RETURN, KILL_PROCESS)
        self.add(LOAD, NUMBER_AT)
        # x32 has the same architecture and other numbers
        self.add(JUMP_AT_LEAST, X32_BIT, 0, 1)
        self.add(RETURN, ERRNO | errno.EPERM)

    def add(self, code: int, value: int, when: int = 0, otherwise: int = 0) -> None:
        """Add one instruction; the jumps say how many instructions to skip."""
        self.code += struct.pack("<HBBI", code, when, otherwise, value)

    def allow(self, calls: Iterable[CallNumber]) -> None:
        for number in (call[self.column] for call in calls):
            if number is not None:
                self.add(JUMP_EQUAL, number, 0, 1)
                self.add(RETURN, ALLOW)

    def allow_where(self, call: CallNumber, argument: int, values: Iterable[int], test: int = JUMP_EQUAL) -> None:
        """Allow a call when the low half of an argument passes the test for one of the values."""
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
        self.add(JUMP_AT_LEAST, FIRST_NEW_CALL, 0, 1)
        self.add(RETURN, ERRNO | errno.ENOSYS)
        self.add(RETURN, ERRNO | errno.EPERM)


def build_seccomp_program(machine: str, *, writing: bool) -> bytes:
    """The filter in the form that the kernel takes; with `writing`, passed files may be written and grow."""
    built = SeccompProgram(*MACHINES[machine])
    built.allow(ALLOWED_CALLS.values())
    if writing:
        built.allow(WRITING_CALLS.values())
    built.allow_where(CLONE, 0, [CLONE_THREAD], JUMP_ANY_BIT)
    built.allow_where(KILL, 0, [os.getpid()])
    built.allow_where(TGKILL, 0, [os.getpid()])
    # 0 is the process itself
    built.allow_where(PRLIMIT, 0, [0])
    built.allow_where(FCNTL, 1, FCNTL_COMMANDS)
    built.allow_where(PRCTL, 0, PRCTL_OPTIONS)
    built.refuse_the_rest()
    return bytes(built.code)


class SockFprog(ctypes.Structure):
    """The kernel's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def install_seccomp(*, writing: bool) -> bool:
    """Put every thread of this process, present and future, under the filter; False if the kernel refuses it."""
    machine = os.uname().machine  # the module `platform` takes 4 ms to import
    if machine not in MACHINES:
        return False
    code = build_seccomp_program(machine, writing=writing)
    filled = SockFprog(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    # without root the kernel accepts no filter before this
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    number = SECCOMP_CALL[MACHINES[machine][0]]
    flags = SECCOMP_FILTER_FLAG_TSYNC
    return not libc.syscall(ctypes.c_long(number), SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(filled))


# How often the parent id is compared while the pipe stays open.
PARENT_CHECK_MS = 1_000


def lower_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def wall_in(limits: Limits, progress: Progress, *, file_bytes: int = 0) -> None:
    """Bound memory, files, core dumps and system calls of this process, and report the walls in `progress`.

    The process opens no file from here on, and writes to none when `file_bytes` is 0. Two things are not set on
    purpose. PR_SET_PDEATHSIG fires when the *thread* that started the child ends, and pools start children from
    short-lived threads (`watch_parent` does its work). PR_SET_DUMPABLE: the child holds no secret, and without root its
    parent could no longer read it in /proc.
    """
    lower_limit(resource.RLIMIT_AS, limits.address_space_bytes)
    lower_limit(resource.RLIMIT_FSIZE, file_bytes)
    lower_limit(resource.RLIMIT_NOFILE, limits.open_files)
    lower_limit(resource.RLIMIT_CORE, 0)
    open_only_given()
    walls = LANDLOCK_WALL if restrict_with_landlock() else 0
    walls |= SECCOMP_WALL if install_seccomp(writing=file_bytes > 0) else 0
    progress.set_walls(walls)
    if limits.require_walls and walls != ALL_WALLS:
        os._exit(EXIT_WITHOUT_WALLS)


def allow_cpu(seconds: float) -> None:
    """Allow about `seconds` more of CPU time; after that the kernel ends the process (SIGXCPU)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # the limit counts whole seconds from the start of the process, so what is used already is added
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 2
    with contextlib.suppress(ValueError):  # a lower hard limit from outside holds anyway
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def watch_parent(descriptor: int = 0) -> None:
    """End this process, busy or not, as soon as its parent's pipe closes or the parent is gone."""
    parent = os.getppid()

    def watch() -> None:
        hangup = select.poll()
        hangup.register(descriptor, 0)
        while not hangup.poll(PARENT_CHECK_MS) and os.getppid() == parent:
            pass
        os._exit(0)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
