"""One hostile run with everything around it measured."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.walls import MACHINES
from shared.errors import InvalidInputError
from tests.unit.sandbox.attacks.watch import Watch

LIMITS = Limits(deadline_s=0.15, gold_deadline_s=0.4, grace_s=0.2, max_rows=1000)
DAMAGED = "damaged"  # the file was refused as no sound database, by its name
LATE_S = 0.5  # how long after its deadline a query may end: a promise of the product
# SQLite's own, as much again (one row of it, as Python holds it), and the rest; the kernel's wall is 1 GiB
MEMORY_CAP = 2 * LIMITS.heap_bytes + 128 * 1024 * 1024
TRIES = 5
FILTERS = Path("/proc/sys/kernel/seccomp/actions_avail").exists() and os.uname().machine in MACHINES


@dataclass(frozen=True)
class Trial:
    """Runs on a pool of one child; `safe` is a sound database that is asked before and after."""

    pool: SandboxPool
    safe: Path
    watch: Watch

    def run(self, path: Path, sql: str, expect: frozenset[str]) -> tuple[str, str | None]:
        """The outcome (or DAMAGED) and message, which are as expected, in time and within the walls.

        Others use this machine, so wall time alone proves nothing: a query has broken its bound when it is late each
        time. CPU time and memory are no one else's doing, and must hold each time. A query that a busy machine lets run
        into its deadline gets a longer one.
        """
        for deadline_s in self.deadlines():
            self.check_service()
            self.watch.begin()
            began = time.monotonic()
            outcome, message = self.ask(path, sql, deadline_s)
            wall_s, seen = time.monotonic() - began, self.watch.end()
            assert max(seen.cpu_s.values(), default=0.0) <= deadline_s + LATE_S
            assert seen.peak_bytes <= MEMORY_CAP
            assert seen.writable == set()
            if wall_s <= deadline_s + LATE_S and (outcome in expect or outcome != "timeout"):
                break
        self.check_service()
        assert wall_s <= deadline_s + LATE_S
        assert outcome in expect, message
        return outcome, message

    def deadlines(self) -> Iterator[float]:
        """One for each try, the later the longer."""
        return (LIMITS.deadline_s * 2**number for number in range(TRIES))

    def ask(self, path: Path, sql: str, deadline_s: float) -> tuple[str, str | None]:
        """One run."""
        try:
            ran = self.pool.execute(path, sql, deadline_s=deadline_s)
        except InvalidInputError as error:
            assert path.name in error.message
            return DAMAGED, error.message
        return ran.outcome.value, ran.message

    def check_service(self) -> None:
        """The pool serves, and its child is up, so that no start counts as a query's time."""
        assert self.pool.execute(self.safe, "SELECT count(*) FROM customer", deadline_s=10).rows == [[4]]
