"""The orchestrator process: `python -m services.orchestrator.app`. Several may run: one leads, the others stand by.

The leader holds a lease in Redis and renews it three times in its length. If it dies, another one leads after two
leases at most; if it stops in order, it gives the lease back at once. A leader that was paused (SIGSTOP, a swapped-out
machine) may wake up in the middle of anything: its own clock tells it that its time is over, and each step of the job
store names the token that must hold the lease, so Redis refuses what is under way (`shared/jobs/scripts/prelude.lua`).
"""

import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.loop import SLICE_S, Orchestrator
from services.orchestrator.settings import OrchestratorSettings
from shared.errors import ConflictError, UnavailableError
from shared.jobs.events import EventReader
from shared.jobs.steps import NotLeaderError, Steps
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.logging import configure_logging, get_logger
from shared.metrics import LEADING, ROUND_SECONDS, expose_metrics
from shared.processes.health import check_data_version, touch_alive
from shared.processes.lifecycle import exit_with_parent
from shared.redis import RedisClient, connect_redis
from shared.settings import RedisSettings
from shared.storage.directory import DirectoryStore
from shared.storage.open import StoreSettings, open_store
from shared.storage.store import ObjectStore
from shared.tasks.app import make_app

KEY = "leader"
log = get_logger()


class Leadership:
    """One process in the election. A token is valid for one term, so the fence also stops steps of earlier terms."""

    def __init__(self, steps: Steps, lease_s: float) -> None:
        self.steps = steps
        self.lease_s = lease_s
        self.token = ""
        self.held_until = 0.0
        self._over = Event()

    @property
    def fence(self) -> list[str]:
        return [f"{self.steps.prefix}{KEY}", self.token]

    @property
    def leads(self) -> bool:
        """Whether the lease holds, by the monotonic clock and counted from before the last renewal."""
        return not self._over.is_set() and time.monotonic() < self.held_until

    def acquire(self) -> bool:
        """Starts a term if no other process leads. Raises `UnavailableError`."""
        self.token = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        if not self._ask("take"):
            return False
        self._over.clear()
        Thread(target=self._renew, args=(self.token,), name="leader", daemon=True).start()
        LEADING.set(1)
        return True

    def lose(self) -> None:
        """Ends the term, whatever the clock says, because the fence refused a step."""
        self._over.set()

    def give_up(self) -> None:
        """Ends the term and gives the lease back, so that the next leader need not wait."""
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
            # counted from before the call, so that our clock ends the term no later than Redis does
            self.held_until = began + self.lease_s
        return held

    def _renew(self, token: str) -> None:
        # a thread of an earlier term ends when the token has changed
        while not self._over.wait(self.lease_s / 3) and self.token == token:
            try:
                if not self._ask("renew"):
                    log.warning("leader.lost", reason="another orchestrator holds the lease")
                    self._over.set()
            except UnavailableError as error:
                log.warning("leader.renew_failed", error=error.message)
                if time.monotonic() >= self.held_until:
                    self._over.set()


PAUSE_S = 1.0
IDLE_S = 0.5
STOP_S = 10.0
STUCK_S = 60.0  # a process whose dispatch loop hangs for so long stops reporting that it is alive


@dataclass
class Process:
    """What outlives a term as leader: connections, the leadership and the request to stop."""

    client: RedisClient
    prefix: str
    objects: ObjectStore
    leadership: Leadership
    stop: threading.Event = field(default_factory=threading.Event)
    rounds: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        while not self.stop.is_set():
            touch_alive()
            try:
                if not self.leadership.acquire():
                    self.stop.wait(min(PAUSE_S, self.leadership.lease_s / 3))
                    continue
            except UnavailableError as error:
                log.warning("orchestrator.waiting", error=error.message)
                self.stop.wait(PAUSE_S)
                continue
            log.info("orchestrator.leads")
            try:
                self.lead()
            finally:
                self.leadership.give_up()
            log.info("orchestrator.leads_no_more")

    def lead(self) -> None:
        """Works for one term. Dispatch and the slow work on the object store run in separate threads."""
        orchestrator, dispatching, archiving = self.make(), self.make(), self.make()
        opened = False

        def advance() -> None:
            nonlocal opened
            if not opened:
                orchestrator.events.open()
            opened = False  # until the round succeeds: a lost stream is created again
            orchestrator.advance_some()
            opened = True

        def dispatch() -> None:
            orchestrator.acted.wait(IDLE_S)
            orchestrator.acted.clear()
            dispatching.dispatch_some()

        def archive() -> None:
            archiving.archiver.work(SLICE_S)
            self.stop.wait(IDLE_S)

        self.rounds.clear()
        loops = {"dispatch": dispatch, "archive": archive}
        threads = [
            threading.Thread(target=self.repeat, args=(name, part), name=name, daemon=True)
            for name, part in loops.items()
        ]
        for thread in threads:
            thread.start()
        self.repeat("advance", advance)
        # the lease is given back only after the threads have stopped, or after this limit
        ends = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def make(self) -> Orchestrator:
        """Makes an orchestrator fenced to this term. Each thread has one, on the same connections."""
        store = JobStore(self.client, self.prefix)
        store.steps.fence = self.leadership.fence
        events = EventReader(self.client, self.prefix, f"{socket.gethostname()}:{os.getpid()}")
        dispatcher = Dispatcher(store, WorkerRegistry(self.client, self.prefix), make_app())
        return Orchestrator(store, self.objects, events, dispatcher)

    def repeat(self, name: str, part: Callable[[], None]) -> None:
        """Runs rounds of one part until the term ends. A round that fails is followed by the next one."""
        while self.leadership.leads and not self.stop.is_set():
            began = time.monotonic()
            try:
                part()
            except NotLeaderError:
                log.warning("orchestrator.replaced", loop=name)
                self.leadership.lose()
            except UnavailableError as error:
                log.warning("orchestrator.waiting", loop=name, error=error.message)
                self.stop.wait(PAUSE_S)
            except Exception:
                log.exception("orchestrator.round_failed", loop=name)
                self.stop.wait(PAUSE_S)
            self.rounds[name] = time.monotonic()
            ROUND_SECONDS.labels(loop=name).observe(self.rounds[name] - began)
            if name == "advance" and self.rounds[name] - self.rounds.get("dispatch", began) < STUCK_S:
                touch_alive()


def build() -> Process:
    settings = RedisSettings()
    client = connect_redis(settings)
    objects = open_store(StoreSettings())
    if isinstance(objects, DirectoryStore):
        objects.remove_leftovers()  # partial files that a kill left a day or more ago
    leadership = Leadership(Steps(client, settings.prefix), OrchestratorSettings().lease_s)
    return Process(client, settings.prefix, objects, leadership)


def main() -> int:
    configure_logging("orchestrator")
    exit_with_parent()
    expose_metrics()
    process = build()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stop.set())
    log.info("orchestrator.ready")
    checked = False
    while not process.stop.is_set() and not checked:
        try:
            check_data_version(process.client, process.prefix, process.objects)
            checked = True
        except UnavailableError as error:
            log.warning("orchestrator.waiting", error=error.message)
            process.stop.wait(PAUSE_S)
        except ConflictError as error:
            log.error("orchestrator.refused", error=error.message)
            return 2
    process.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
