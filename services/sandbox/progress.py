"""What parent and child share: which statement of a request runs now and since when, and the walls around the child.

They spare a message at the start of each statement, and let quick answers travel together: when a child is killed, the
parent reads here which statement it was in, and asks another child for the answers that had not left.
"""

import mmap
import os
import time

SIZE = 16
NUMBER_BITS = 12
MOST = (1 << NUMBER_BITS) - 2  # statements of one request
NOT_BEGUN = -1
SECCOMP, LANDLOCK = 1, 2  # bits of the walls
ALL_WALLS = SECCOMP | LANDLOCK
NO_WALLS = 97  # exit status of a child that lacks a wall which its limits require


class Progress:
    """The shared record; the parent makes the memory, the child opens it by the descriptor it inherited.

    Each part of it is one machine word, written and read at once: a child can be stopped at any point of a longer
    write, and what the parent read then would look like a statement that began long ago.
    """

    def __init__(self, descriptor: int) -> None:
        self._word = memoryview(mmap.mmap(descriptor, SIZE)).cast("Q")
        self.set(NOT_BEGUN)

    def set(self, number: int) -> None:
        """Statement `number` begins now (the clock is the machine's, the same in both processes)."""
        self._word[0] = (time.monotonic_ns() // 1000) << NUMBER_BITS | (number + 1)

    def set_walls(self, walls: int) -> None:
        """Bits, as the child found them when it walled itself in."""
        self._word[1] = walls

    def walls(self) -> int:
        """What the child said last; 0 while it has said nothing."""
        return self._word[1]

    def get(self) -> tuple[int, float]:
        """The statement that runs or ran last, and when it began in seconds."""
        word = self._word[0]
        return (word & (1 << NUMBER_BITS) - 1) - 1, (word >> NUMBER_BITS) / 1e6


def shared_memory() -> int:
    """A descriptor of new memory, to be handed to a child; the caller closes it."""
    descriptor = os.memfd_create("sense-progress")
    os.ftruncate(descriptor, SIZE)
    return descriptor
