"""How many CPU threads to use: two threads on a core that another process keeps busy are slower than one."""

import math
import os
import time
from pathlib import Path

SAMPLE_S = 0.4


def free_threads() -> int:
    """Cores of this process that are idle right now (at least one), within the control group's quota."""
    cores = sorted(os.sched_getaffinity(0))
    before = _busy(cores)
    time.sleep(SAMPLE_S)
    after = _busy(cores)
    shares = [
        (busy_b - busy_a) / max(1, all_b - all_a)
        for (busy_a, all_a), (busy_b, all_b) in zip(before, after, strict=True)
    ]
    idle = len(cores) - round(sum(shares))
    return max(1, min(idle, _quota()))


def _busy(cores: list[int]) -> list[tuple[int, int]]:
    """(busy, all) ticks of each core since boot; all idle where /proc does not say."""
    found: dict[int, tuple[int, int]] = {}
    stat = Path("/proc/stat")
    for line in stat.read_text().splitlines() if stat.exists() else []:
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(field) for field in fields[:8]]
            found[int(name[3:])] = (sum(ticks) - ticks[3] - ticks[4], sum(ticks))
    return [found.get(core, (0, 0)) for core in cores]


def _quota() -> int:
    """Whole cores that the control group (version 2) grants; a large number without a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, math.ceil(int(limit) / int(period))) if limit != "max" else 1 << 16
    except (OSError, ValueError):
        return 1 << 16
