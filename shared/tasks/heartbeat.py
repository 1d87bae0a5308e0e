"""Keeps a shard's lease while its task works, and stops the work when the lease is no longer ours."""

import os
import threading
from collections.abc import Callable

from shared.errors import SenseError
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.settings import LeaseSettings

log = get_logger()


class Heartbeat:
    """A thread that renews. `reason` is None while all is well, else `lost`, `cancelling`, `draining` or `orphaned`."""

    def __init__(self, store: JobStore, where: tuple[str, str, int], *, token: str, worker: str) -> None:
        self.store = store
        self.where = where
        self.token = token
        self.worker = worker
        self.settings = LeaseSettings()
        self.abort = threading.Event()
        self.reason: str | None = None
        self.parent = os.getppid()
        self._actions: list[Callable[[], None]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the renewing; the caller settles the shard."""
        self._stop.set()
        self._thread.join(timeout=self.settings.renew_s + 5)

    def on_abort(self, action: Callable[[], None]) -> None:
        """Registers what kills this task's children; called at once where the abort came before."""
        self._actions.append(action)
        if self.abort.is_set():
            action()

    def _run(self) -> None:
        silent = 0.0
        while not self._stop.wait(self.settings.renew_s):
            if os.getppid() != self.parent:
                self._end("orphaned")
                return
            try:
                answer = self.store.renew(
                    *self.where, token=self.token, worker=self.worker, lease_s=self.settings.seconds
                )
                silent = 0.0
            except SenseError as error:
                silent += self.settings.renew_s
                log.warning("lease.renew_failed", error=error.message)
                answer = "lost" if silent >= self.settings.seconds else "ok"
            if answer != "ok":
                self._end(answer)
                return

    def _end(self, reason: str) -> None:
        self.reason = reason
        log.warning("lease.ended", reason=reason, stage=self.where[1], shard=self.where[2])
        self.abort.set()
        for action in self._actions:
            action()
        if reason == "orphaned":
            os._exit(
                70
            )  # the worker above is gone: its supervisor starts another, and the reaper sends the shard again
