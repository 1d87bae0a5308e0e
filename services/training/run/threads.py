"""How many CPU threads to use: a thread on a core that another process keeps busy holds all the others up."""

import math
import os
import time
from pathlib import Path
from typing import NamedTuple

WINDOW_S = 4.0  # others are judged by what they used for so long: a thread given up for a moment's work costs a step


class Usage(NamedTuple):
    """CPU seconds since some start: spent busy on this process's cores by anyone, and by this process alone."""

    wall: float
    busy: float
    own: float


class ThreadGauge:
    """Says, each time it is asked, how many cores others left free in the last seconds (at least one)."""

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0))
        self.limit = min(len(self._cores), cpu_quota())
        self._readings = [read_usage(self._cores)]

    def threads(self) -> int:
        """Cores free of others lately, within the control group's quota."""
        now = read_usage(self._cores)
        while len(self._readings) > 1 and now.wall - self._readings[1].wall >= WINDOW_S:
            self._readings.pop(0)
        free = free_cores(len(self._cores), self._readings[0], now)
        self._readings.append(now)
        return max(1, min(self.limit, free))


def free_cores(cores: int, before: Usage, after: Usage) -> int:
    """`cores` less what others used of them between two readings, rounded."""
    wall = max(1e-6, after.wall - before.wall)
    others = (after.busy - before.busy - (after.own - before.own)) / wall
    return cores - round(max(0.0, others))


def read_usage(cores: list[int]) -> Usage:
    """A reading now; without /proc/stat the others seem to do nothing."""
    own = time.process_time()
    stat = Path("/proc/stat")
    if not stat.exists():
        return Usage(time.monotonic(), own, own)
    names = {f"cpu{core}" for core in cores}
    busy = 0
    for line in stat.read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            # user nice system idle iowait irq softirq steal, in clock ticks
            user, nice, system, _, _, *rest = [int(field) for field in fields[:8]]
            busy += user + nice + system + sum(rest)
    return Usage(time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), own)


def cpu_quota() -> int:
    """Whole cores that the control group (version 2) grants; a large number without a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, math.ceil(int(limit) / int(period))) if limit != "max" else 1 << 16
    except (OSError, ValueError):
        return 1 << 16
