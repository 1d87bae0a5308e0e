"""Which of two ways to do the same is the faster one here, where a processor's list of features says too little."""

import time
from collections.abc import Callable

TURNS = 6
CLEARLY = 0.87  # of the other's time; nearer ones count as equal


def clearly_faster(one: Callable[[], object], other: Callable[[], object]) -> bool:
    """Whether `one` takes less than `CLEARLY` of `other`'s time. Each runs several times, in turn, and its best counts:
    what else the machine does only adds."""
    taken = [(seconds(one), seconds(other)) for _ in range(TURNS)]
    return min(own for own, _ in taken) < CLEARLY * min(others for _, others in taken)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
