"""Wall clocks that jump: leases have to rest on Redis' time or on a monotonic one."""

import random
import struct
import time
from pathlib import Path

from tests.failure.chaos.world import CLOCKED, ChaosWorld, Happening

HOUR = 3600.0
JUMPS = (-3 * HOUR, -HOUR, HOUR, 3 * HOUR)  # three hours are longer than Celery's visibility timeout
WRONG_S = 4.0


def clock_jumps(*programs: str) -> Happening:
    """The clock of one of these programs jumps by hours, and after a while back, as when NTP mends it."""
    assert set(programs) <= set(CLOCKED)

    def happen(world: ChaosWorld, _job: str, rng: random.Random) -> None:
        clock = world.clocks / rng.choice(programs)
        set_clock(clock, rng.choice(JUMPS))
        try:
            time.sleep(WRONG_S)
        finally:
            set_clock(clock, 0.0)

    return happen


def set_clock(path: Path, seconds: float) -> None:
    """In place: running processes have mapped the file."""
    with path.open("r+b") as file:
        file.write(struct.pack("d", seconds))
