"""Keeps a shard's lease while its task works, and stops the work when the lease is no longer ours."""

import os
import threading
import time
from collections.abc import Callable

from shared.errors import SenseError
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.settings import LeaseSettings

log = get_logger()


class Heartbeat:
    """A thread that renews. `reason` is None while all is well, else `lost`, `cancelling`, `draining` or `orphaned`.

    However the thread ends, other than by `stop`, the work is told to end too: without renewals its lease runs out and
    another worker begins the shard. `store` should answer or fail within a renewal (`renewing_store`): a call that
    hangs for longer than the lease would be noticed too late.
    """

    def __init__(self, store: JobStore, where: tuple[str, str, int], *, token: str, worker: str) -> None:
        self.store = store
        self.where = where
        self.token = token
        self.worker = worker
        self.settings = LeaseSettings()
        self.abort = threading.Event()
        self.reason: str | None = None
        self.parent = os.getppid()
        self.renewed = time.monotonic()
        self._actions: list[Callable[[], None]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to renew."""
        self.renewed = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ends the renewing; the caller settles the shard."""
        self._stop.set()
        self._thread.join(timeout=self.settings.renew_s + 5)

    def lease_left_s(self) -> float:
        """How long the lease holds at least, by the last renewal that was granted."""
        return self.renewed + self.settings.seconds - time.monotonic()

    def on_abort(self, action: Callable[[], None]) -> None:
        """Registers what kills this task's children; called at once where the abort came before."""
        self._actions.append(action)
        if self.abort.is_set():
            action()

    def _run(self) -> None:
        reason: str | None = "lost"
        try:
            reason = self._renew_until_told()
        except BaseException:
            log.exception("lease.heartbeat_broke")
        finally:
            if reason is not None:
                self._end(reason)

    def _renew_until_told(self) -> str | None:
        """Why the work must stop; None where it has stopped by itself."""
        while not self._stop.wait(self._pause_s()):
            if os.getppid() != self.parent:
                return "orphaned"
            asked = time.monotonic()
            try:
                answer = self.store.renew(
                    *self.where, token=self.token, worker=self.worker, lease_s=self.settings.seconds
                )
            except Exception as error:  # whatever it is, only the lease's end decides
                told = error.message if isinstance(error, SenseError) else f"{type(error).__name__}: {error}"
                log.warning("lease.renew_failed", error=told)
                if self.lease_left_s() <= self._pause_s():
                    return "lost"
                continue
            if answer != "ok":
                return answer
            self.renewed = asked
        return None

    def _pause_s(self) -> float:
        """Until the next renewal; shorter where the last one failed."""
        late = time.monotonic() - self.renewed > self.settings.renew_s
        return self.settings.renew_s / (4 if late else 1)

    def _end(self, reason: str) -> None:
        self.reason = reason
        self.abort.set()
        log.warning("lease.ended", reason=reason, stage=self.where[1], shard=self.where[2])
        for action in self._actions:
            try:
                action()
            except Exception:  # the others are to be stopped all the same
                log.exception("lease.abort_failed")
        if reason == "orphaned":
            os._exit(
                70
            )  # the worker above is gone: its supervisor starts another, and the reaper sends the shard again
