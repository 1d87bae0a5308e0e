"""The heartbeat keeps the lease of a shard while its task works; the watchdog ends tasks that stall.

A call that holds the interpreter lock (`re` in catastrophic backtracking, a library in C) also stops the heartbeat. The
lease runs out, but the process would keep its slot until Celery's time limit. So each task writes signs of life into
memory that it shares with its parent worker, and a thread of the worker watches them. A worker on a slow machine loses
nothing by this: its lease would run out anyway.
"""

import json
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.contracts.base import Command
from shared.errors import SenseError
from shared.jobs.state import ErrorInfo
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.redis import connect_redis
from shared.settings import LeaseSettings, RedisSettings

log = get_logger()


class Heartbeat:
    """A thread that renews the lease. `reason` is None, or why it ended: `lost`, `cancelling`, `draining`, `orphaned`.

    Unless `stop` ends the thread, the work has to end with it: without renewals the lease runs out and another worker
    starts the shard. `store` must answer or fail well within a lease (`renewing_store`), or that is noticed too late.
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
        self.renewed = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=self.settings.renew_s + 5)

    def lease_left_s(self) -> float:
        return self.renewed + self.settings.seconds - time.monotonic()

    def on_abort(self, action: Callable[[], None]) -> None:
        self._actions.append(action)
        # the task may have been aborted before this child was registered
        if self.abort.is_set():
            action()

    def _run(self) -> None:
        reason: str | None = "lost"
        try:
            reason = self._renew_until_stopped()
        except BaseException:
            log.exception("lease.heartbeat_broke")
        finally:
            if reason is not None:
                self._end(reason)

    def _renew_until_stopped(self) -> str | None:
        while not self._stop.wait(self._pause_s()):
            # the worker was killed: this process has a new parent
            if os.getppid() != self.parent:
                return "orphaned"
            # taken before the call: the lease may start to run at any time during it
            asked = time.monotonic()
            try:
                answer = self.store.renew(
                    *self.where, token=self.token, worker=self.worker, lease_s=self.settings.seconds
                )
            except Exception as error:  # whatever it is, only the end of the lease stops the work
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
        late = time.monotonic() - self.renewed > self.settings.renew_s
        return self.settings.renew_s / (4 if late else 1)

    def _end(self, reason: str) -> None:
        self.reason = reason
        self.abort.set()
        log.warning("lease.ended", reason=reason, stage=self.where[1], shard=self.where[2])
        for action in self._actions:
            try:
                action()
            except Exception:  # the other children must be stopped too
                log.exception("lease.abort_failed")
        if reason == "orphaned":
            os._exit(70)  # the supervisor starts another worker, and the reaper sends the shard again


# A place in the shared memory: the time of the last sign of life (0: no task), the process and its shard.
PLACES, PLACE_BYTES = 256, 2048
HEAD = struct.Struct("<dqH")
SILENT = 0.8  # of a lease: the reason can still be written into the shard


@dataclass(frozen=True)
class Sign:
    """The content of a place."""

    at: float
    pid: int
    shard: dict[str, Any]


class Watchdog:
    """Create it in the worker before it forks, so that its processes share the memory."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, PLACES * PLACE_BYTES)
        self.pid = os.getpid()

    def write(self, place: int, at: float, shard: dict[str, Any]) -> None:
        """Starts an entry. The time is written last, so that no reader sees a partial entry."""
        said = json.dumps(shard).encode()
        begin = place * PLACE_BYTES
        # too long for the entry: this task runs unwatched
        if len(said) > PLACE_BYTES - HEAD.size:
            return
        self.memory[begin + HEAD.size : begin + HEAD.size + len(said)] = said
        HEAD.pack_into(self.memory, begin, 0.0, os.getpid(), len(said))
        self.sign(place, at)

    def sign(self, place: int, at: float) -> None:
        struct.pack_into("<d", self.memory, place * PLACE_BYTES, at)

    def read(self, place: int) -> Sign | None:
        begin = place * PLACE_BYTES
        at, pid, size = HEAD.unpack_from(self.memory, begin)
        if not at:
            return None
        return Sign(at, pid, json.loads(self.memory[begin + HEAD.size : begin + HEAD.size + size]))

    def watch(self) -> None:
        """Runs for ever, in a thread of the worker."""
        lease_s = LeaseSettings().seconds
        looked = time.monotonic()
        while True:
            time.sleep(lease_s / 15)
            late = time.monotonic() - looked > lease_s / 5  # this thread did not run either, so the machine may be slow
            looked = time.monotonic()
            for place in range(0 if late else PLACES):
                sign = self.read(place)
                if sign is not None and looked - sign.at > SILENT * lease_s:
                    self.sign(place, 0.0)
                    self.end(sign)

    def end(self, sign: Sign) -> None:
        """Kills the process if it is still a child, and fails the attempt of its shard."""
        if not is_child(sign.pid):
            return
        os.kill(sign.pid, signal.SIGKILL)
        log.error("task.stalled", pid=sign.pid, **sign.shard)
        message = "a text of this shard stalled the worker: it ran without end in one call, and its process was ended"
        error = ErrorInfo(code="stalled", message=message, retryable=True)
        settings = RedisSettings()
        shard = dict(sign.shard)
        where = (shard.pop("job"), shard.pop("stage"), shard.pop("shard"))
        try:
            store = JobStore(connect_redis(settings), settings.prefix)
            store.fail(*where, error=error, pause_s=LeaseSettings().retry_pause_s, **shard)
        except SenseError as refused:  # the lease runs out anyway
            log.warning("task.stall_unsaid", error=refused.message)


_watchdog: Watchdog | None = None


def open_watchdog() -> None:
    """Call it in the worker before its pool forks."""
    global _watchdog  # noqa: PLW0603
    _watchdog = Watchdog()


def start_watching() -> None:
    if _watchdog is not None:
        threading.Thread(target=_watchdog.watch, name="watchdog", daemon=True).start()


@contextmanager
def watched(command: Command, token: str) -> Iterator[None]:
    place = place_of_process()
    if _watchdog is None or place is None or os.getppid() != _watchdog.pid:
        yield
        return
    dog, stop = _watchdog, threading.Event()
    shard = {"job": command.job_id, "stage": command.stage, "shard": command.shard, "token": token}
    dog.write(place, time.monotonic(), shard)
    every = LeaseSettings().seconds / 15

    def live() -> None:
        while not stop.wait(every):
            dog.sign(place, time.monotonic())

    thread = threading.Thread(target=live, name="life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        dog.sign(place, 0.0)


def place_of_process() -> int | None:
    """The index of this process in its pool. A process that replaces it gets the same index."""
    from billiard import current_process

    place = getattr(current_process(), "index", None)
    return place if isinstance(place, int) and 0 <= place < PLACES else None


def is_child(pid: int) -> bool:
    if not hasattr(os, "waitid"):
        return True
    try:
        # WNOWAIT leaves the exit status for the pool; the id of an ended child may belong to another process by now
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
