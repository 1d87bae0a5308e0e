"""How many threads are worth using now.

Two threads on two cores are forty times slower than one while another process holds a core and idle threads spin
(measured); so the engine looks at what others use and takes the rest. Idle threads spin briefly, then sleep (link.py).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 0.5
STAT = Path("/proc/stat")


class Cores:
    """Calls `use` with a new thread count, at most `limit`, when what other processes use has changed it."""

    def __init__(self, limit: int, use: Callable[[int], None]) -> None:
        self._limit = limit
        self._use = use
        self._threads = limit
        self._seen = (time.monotonic(), busy_seconds(), time.process_time())
        use(limit)

    def look(self) -> None:
        now = (time.monotonic(), busy_seconds(), time.process_time())
        wall, busy, own = (new - old for new, old in zip(now, self._seen, strict=True))
        if wall < LOOK_EVERY_S:
            return
        self._seen = now
        threads = free_threads(self._limit, os.cpu_count() or 1, (busy - own) / wall)
        if threads != self._threads:
            self._threads = threads
            self._use(threads)


def free_threads(limit: int, cores: int, used_by_others: float) -> int:
    """`used_by_others` in cores; at least one thread."""
    return max(1, min(limit, round(cores - max(0.0, used_by_others))))


def busy_seconds() -> float:
    """Processor time that all processes have used since boot; 0 where the system does not tell."""
    try:
        fields = STAT.read_text("ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
