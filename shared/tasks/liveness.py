"""Keeps a shard's lease while its task works, and stops the work when the lease is no longer ours."""

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


# A place in the shared memory: when there was a sign of life last (0: nobody works here), the process, and its shard.
PLACES, PLACE_BYTES = 256, 2048
HEAD = struct.Struct("<dqH")
SILENT = 0.8  # of a lease: the row is still ours to write the reason into


@dataclass(frozen=True)
class Sign:
    """What a place says."""

    at: float
    pid: int
    shard: dict[str, Any]


class Watchdog:
    """Made in the worker before it forks; every process below it shares the memory."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, PLACES * PLACE_BYTES)
        self.pid = os.getpid()

    def write(self, place: int, at: float, shard: dict[str, Any]) -> None:
        """The first sign of a shard; the time is written last, so that nothing half written is read."""
        said = json.dumps(shard).encode()
        begin = place * PLACE_BYTES
        if len(said) > PLACE_BYTES - HEAD.size:
            return
        self.memory[begin + HEAD.size : begin + HEAD.size + len(said)] = said
        HEAD.pack_into(self.memory, begin, 0.0, os.getpid(), len(said))
        self.sign(place, at)

    def sign(self, place: int, at: float) -> None:
        """A sign of life; 0 where the work is done."""
        struct.pack_into("<d", self.memory, place * PLACE_BYTES, at)

    def read(self, place: int) -> Sign | None:
        """What stands in a place; None where nobody works."""
        begin = place * PLACE_BYTES
        at, pid, size = HEAD.unpack_from(self.memory, begin)
        if not at:
            return None
        return Sign(at, pid, json.loads(self.memory[begin + HEAD.size : begin + HEAD.size + size]))

    def watch(self) -> None:
        """Looks for ever; for a thread of the worker."""
        lease_s = LeaseSettings().seconds
        looked = time.monotonic()
        while True:
            time.sleep(lease_s / 15)
            late = time.monotonic() - looked > lease_s / 5  # we ourselves did not run: nor may they have
            looked = time.monotonic()
            for place in range(0 if late else PLACES):
                sign = self.read(place)
                if sign is not None and looked - sign.at > SILENT * lease_s:
                    self.sign(place, 0.0)
                    self.end(sign)

    def end(self, sign: Sign) -> None:
        """Kills the process where it is still ours; the row then waits for the reaper, which counts the attempt."""
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
        except SenseError as refused:  # the lease runs out without us
            log.warning("task.stall_unsaid", error=refused.message)


_watchdog: Watchdog | None = None


def open_watchdog() -> None:
    """To be called in the worker before its pool forks."""
    global _watchdog  # noqa: PLW0603
    _watchdog = Watchdog()


def start_watching() -> None:
    """Starts the thread, in the worker."""
    if _watchdog is not None:
        threading.Thread(target=_watchdog.watch, name="watchdog", daemon=True).start()


@contextmanager
def watched(command: Command, token: str) -> Iterator[None]:
    """Signs of life while a shard is worked on; nothing where no worker above looks for them."""
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
    """The number that the pool gives to each of its processes, and to the one that replaces it."""
    from billiard import current_process

    place = getattr(current_process(), "index", None)
    return place if isinstance(place, int) and 0 <= place < PLACES else None


def is_child(pid: int) -> bool:
    """Whether a process is ours and runs: a number may have gone to another one."""
    if not hasattr(os, "waitid"):
        return True
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
