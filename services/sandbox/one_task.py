"""What a child with one kind of task does: wall itself in, answer its request, or one after another, end."""

import os
import sys
from collections.abc import Callable
from typing import Any

import apsw

from services.sandbox.frames import STARTED, pack, read_message, write_all
from services.sandbox.limits import Limits
from services.sandbox.rlimits import allow_cpu, wall_in, watch_parent

Answer = Callable[[dict[str, Any], Limits], dict[str, Any]]


def serve_once(answer: Answer, *, writes: bool) -> None:
    """The child's whole life; with `writes` it may write files of `Limits.build_file_bytes`. Does not return."""
    limits = begin(writes)
    answer_next(answer, limits)
    os._exit(0)


def serve_on(answer: Answer, *, writes: bool) -> None:
    """The same for a child that answers until its parent has had enough. Does not return."""
    limits = begin(writes)
    while answer_next(answer, limits):
        pass
    os._exit(0)


def begin(writes: bool) -> Limits:
    """Walls this process in."""
    limits = Limits.from_json(sys.argv[1])
    wall_in(limits, file_bytes=limits.build_file_bytes if writes else 0)
    apsw.hard_heap_limit(limits.heap_bytes)
    watch_parent()
    return limits


def answer_next(answer: Answer, limits: Limits) -> bool:
    """One request; False where there is none any more."""
    request = read_message(0)
    if request is None:
        return False
    write_all(1, STARTED)
    allow_cpu(request["deadline_s"])
    write_all(1, pack(answer(request, limits)))
    return True
