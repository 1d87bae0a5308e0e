"""The life of a child: put up walls, answer requests, end."""

import os
import sys
from collections.abc import Callable
from typing import Any

import apsw

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.protocol import STARTED, FileReceiver, Progress, pack, read_message, write_all
from services.sandbox.execution.walls import allow_cpu, wall_in, watch_parent

Answer = Callable[[dict[str, Any], list[int], Limits], dict[str, Any]]


def serve_once(answer: Answer, *, writes: bool) -> None:
    """With `writes`, the child may write up to `Limits.build_file_bytes` to each file it gets. `answer` receives the
    request, the descriptors that came with it, and the limits.
    """
    limits, receiver, _ = start_child(writes=writes)
    answer_request(answer, limits, receiver)
    os._exit(0)


def serve_requests(answer: Answer, *, writes: bool) -> None:
    limits, receiver, _ = start_child(writes=writes)
    while answer_request(answer, limits, receiver):
        pass
    os._exit(0)


def start_child(*, writes: bool) -> tuple[Limits, FileReceiver, Progress]:
    limits, progress, receiver = (
        Limits.from_json(sys.argv[1]),
        Progress(int(sys.argv[2])),
        FileReceiver(int(sys.argv[3])),
    )
    # before anything of the request is read
    wall_in(limits, progress, file_bytes=limits.build_file_bytes if writes else 0)
    apsw.hard_heap_limit(limits.heap_bytes)
    watch_parent()
    return limits, receiver, progress


def answer_request(answer: Answer, limits: Limits, receiver: FileReceiver) -> bool:
    """Close the files of the request afterwards; False when no request is left."""
    if (request := read_message(0)) is None:
        return False
    files = receiver.take(request["file_count"])
    # from here on a death counts against the request, before it the parent tries another child
    write_all(1, STARTED)
    allow_cpu(request["deadline_s"])
    write_all(1, pack(answer(request, files, limits)))
    for file in files:
        os.close(file)
    return True
