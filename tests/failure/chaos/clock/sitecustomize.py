"""Loaded by the Python processes of a chaos stack at their start: their wall clock follows a file, so that it can jump.

`CHAOS_CLOCKS` is a folder with a file for each program of supervisord's whose clock may jump; it holds the jump in
seconds as a C double. `time.monotonic` is left alone, as a real jump leaves it.
"""

import datetime as module
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

real, wall, wall_ns = module.datetime, time.time, time.time_ns


def follow(path: Path) -> Callable[[], float]:
    """How far the clock is off, at any moment: a page shared with the test, so that asking costs no system call."""
    with path.open("rb") as file:
        page = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    return lambda: float(struct.unpack("d", page)[0])


def install(off: Callable[[], float]) -> None:
    """Everybody who asks from now on gets the shifted time; signatures of S3 requests go by `datetime`."""

    class AnyDatetime(type):
        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, real)

    class datetime(real, metaclass=AnyDatetime):  # type: ignore[valid-type, misc]  # noqa: N801
        @classmethod
        def now(cls, tz: module.tzinfo | None = None) -> Any:
            return real.now(tz) + module.timedelta(seconds=off())

        @classmethod
        def utcnow(cls) -> Any:
            return real.utcnow() + module.timedelta(seconds=off())

    time.time = lambda: wall() + off()
    time.time_ns = lambda: wall_ns() + int(off() * 1e9)
    module.datetime = datetime  # type: ignore[misc]


if (folder := os.environ.get("CHAOS_CLOCKS")) is not None:
    clock = Path(folder) / os.environ.get("SUPERVISOR_PROCESS_NAME", "none")
    if clock.exists():
        install(follow(clock))
