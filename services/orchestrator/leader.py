"""Which of several orchestrators works: a lease in Redis, and a fence that no step of a former holder passes.

The lease is renewed three times in its length. A holder that dies is followed within two leases at the most, one that
stops in order gives the lease back at once. A holder that was paused (SIGSTOP, a swapped-out machine) may wake in the
middle of anything: its own clock tells it that its time is over, and what was under way already meets the fence: every
step of the job store names the token that must hold the lease (`shared/jobs/scripts/prelude.lua`).
"""

import os
import socket
import time
import uuid
from threading import Event, Thread

from shared.errors import UnavailableError
from shared.jobs.steps import Steps
from shared.logging import get_logger
from shared.metrics import LEADING

KEY = "leader"
log = get_logger()


class Leadership:
    """One process's part in the election. A token is good for one term: steps of an earlier term meet the fence too."""

    def __init__(self, steps: Steps, lease_s: float) -> None:
        self.steps = steps
        self.lease_s = lease_s
        self.token = ""
        self.held_until = 0.0
        self._over = Event()

    @property
    def fence(self) -> list[str]:
        """What every step of this term is made to check."""
        return [f"{self.steps.prefix}{KEY}", self.token]

    @property
    def leads(self) -> bool:
        """By this process's monotonic clock, counted from before the last renewal was asked for."""
        return not self._over.is_set() and time.monotonic() < self.held_until

    def acquire(self) -> bool:
        """Begins a term where nobody leads. Raises `UnavailableError`."""
        self.token = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        if not self._ask("take"):
            return False
        self._over.clear()
        Thread(target=self._renew, args=(self.token,), name="leader", daemon=True).start()
        LEADING.set(1)
        return True

    def lose(self) -> None:
        """A step met the fence: the term is over, whatever this process's clock says."""
        self._over.set()

    def give_up(self) -> None:
        """Ends the term; the next in line need not wait for the lease to run out."""
        self._over.set()
        LEADING.set(0)
        try:
            self._ask("give")
        except UnavailableError as error:
            log.warning("leader.not_given_up", error=error.message)

    def _ask(self, how: str) -> bool:
        began = time.monotonic()
        held = bool(self.steps.run("lead", KEY, self.token, int(self.lease_s * 1000), how))
        if held:
            self.held_until = began + self.lease_s
        return held

    def _renew(self, token: str) -> None:
        while not self._over.wait(self.lease_s / 3) and self.token == token:
            try:
                if not self._ask("renew"):
                    log.warning("leader.lost", reason="another orchestrator holds the lease")
                    self._over.set()
            except UnavailableError as error:
                log.warning("leader.renew_failed", error=error.message)
                if time.monotonic() >= self.held_until:
                    self._over.set()
