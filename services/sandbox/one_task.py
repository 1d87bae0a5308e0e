"""What a child with one kind of task does: wall itself in, answer its request, or one after another, end."""

import os
import sys
from collections.abc import Callable
from typing import Any

import apsw

from services.sandbox.frames import STARTED, pack, read_message, write_all
from services.sandbox.given import Receiver
from services.sandbox.limits import Limits
from services.sandbox.progress import Progress
from services.sandbox.rlimits import allow_cpu, wall_in, watch_parent

Answer = Callable[[dict[str, Any], list[int], Limits], dict[str, Any]]


def serve_once(answer: Answer, *, writes: bool) -> None:
    """The child's whole life; with `writes` it may write up to `Limits.build_file_bytes` to each file it is given.

    `answer` gets the request, the descriptors that came with it, and the limits. Does not return.
    """
    limits, receiver = begin(writes)
    answer_next(answer, limits, receiver)
    os._exit(0)


def serve_on(answer: Answer, *, writes: bool) -> None:
    """The same for a child that answers until its parent has had enough. Does not return."""
    limits, receiver = begin(writes)
    while answer_next(answer, limits, receiver):
        pass
    os._exit(0)


def begin(writes: bool) -> tuple[Limits, Receiver]:
    """Walls this process in."""
    limits, receiver = Limits.from_json(sys.argv[1]), Receiver(int(sys.argv[3]))
    wall_in(limits, Progress(int(sys.argv[2])), file_bytes=limits.build_file_bytes if writes else 0)
    apsw.hard_heap_limit(limits.heap_bytes)
    watch_parent()
    return limits, receiver


def answer_next(answer: Answer, limits: Limits, receiver: Receiver) -> bool:
    """One request; False where there is none any more. Its files are closed again."""
    request = read_message(0)
    if request is None:
        return False
    files = receiver.take(request["given"])
    write_all(1, STARTED)
    allow_cpu(request["deadline_s"])
    write_all(1, pack(answer(request, files, limits)))
    for file in files:
        os.close(file)
    return True
