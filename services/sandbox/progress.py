"""Sixteen bytes that parent and child share: which statement of a request runs now, and since when.

They spare a message at the start of each statement, and let quick answers travel together: when a child is killed, the
parent reads here which statement it was in, and asks another child for the answers that had not left.
"""

import mmap
import os
import struct
import time

RECORD = struct.Struct("<qd")
NOT_BEGUN = -1


class Progress:
    """The shared record; the parent makes the memory, the child opens it by the descriptor it inherited."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, RECORD.size)
        self.set(NOT_BEGUN)

    def set(self, number: int) -> None:
        """Statement `number` begins now (the clock is the machine's, the same in both processes)."""
        RECORD.pack_into(self._memory, 0, number, time.monotonic())

    def get(self) -> tuple[int, float]:
        """The statement that runs or ran last, and when it began; read twice, for the other side may be writing."""
        record = self._memory[:]
        while record != (again := self._memory[:]):
            record = again
        number, began = RECORD.unpack(record)
        return number, began


def shared_memory() -> int:
    """A descriptor of new memory, to be handed to a child; the caller closes it."""
    descriptor = os.memfd_create("sense-progress")
    os.ftruncate(descriptor, RECORD.size)
    return descriptor
