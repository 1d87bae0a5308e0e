"""What a child does to itself before it looks at any SQL: kernel limits, walls, and a watch on its parent."""

import contextlib
import os
import resource
import select
import threading

from services.sandbox import landlock, seccomp
from services.sandbox.given import open_only_given
from services.sandbox.limits import Limits
from services.sandbox.progress import ALL_WALLS, LANDLOCK, NO_WALLS, SECCOMP, Progress

PARENT_CHECK_MS = 1_000


def lower(kind: int, value: int) -> None:
    """Set soft and hard limit, never above the hard limit that holds already."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def wall_in(limits: Limits, progress: Progress, *, file_bytes: int = 0) -> None:
    """Bound memory, files, core dumps and kernel calls of this process; it opens no file, and with `file_bytes` 0 it
    writes to none. Whether the kernel has each wall is told in `progress`.

    Not set on purpose: PR_SET_PDEATHSIG, for it fires when the *thread* that started the child ends, and pools start
    children from short-lived threads (`watch_parent` does its work); PR_SET_DUMPABLE, for the child holds no secret,
    and without root its parent could no longer look at it in /proc.
    """
    lower(resource.RLIMIT_AS, limits.address_space_bytes)
    lower(resource.RLIMIT_FSIZE, file_bytes)
    lower(resource.RLIMIT_NOFILE, limits.open_files)
    lower(resource.RLIMIT_CORE, 0)
    open_only_given()
    walls = LANDLOCK if landlock.restrict() else 0
    walls |= SECCOMP if seccomp.install(writing=file_bytes > 0) else 0
    progress.set_walls(walls)
    if limits.require_walls and walls != ALL_WALLS:
        os._exit(NO_WALLS)


def allow_cpu(seconds: float) -> None:
    """Let this process use about `seconds` more of CPU; beyond that the kernel ends it (SIGXCPU)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 2
    with contextlib.suppress(ValueError):  # an outer hard limit that is lower holds anyway
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def watch_parent(descriptor: int = 0) -> None:
    """End this process, busy or not, as soon as the pipe of its parent closes or the parent is gone."""
    parent = os.getppid()

    def watch() -> None:
        hangup = select.poll()
        hangup.register(descriptor, 0)
        while not hangup.poll(PARENT_CHECK_MS) and os.getppid() == parent:
            pass
        os._exit(0)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
