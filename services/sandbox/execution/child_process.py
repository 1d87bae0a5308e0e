"""The parent's end of one child: start it, ask it within a deadline, kill it."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.sandbox.execution.database_files import open_database_file
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.protocol import (
    EXIT_WITHOUT_WALLS,
    HEADER,
    LANDLOCK_WALL,
    MAX_FRAME,
    NOT_BEGUN,
    SECCOMP_WALL,
    Progress,
    create_progress_memory,
    pack,
)
from shared.errors import UnavailableError
from shared.logging import get_logger
from shared.metrics import WALLS
from shared.settings import SandboxSettings

ROOT = Path(__file__).resolve().parents[3]
QUERY_CHILD = "services.sandbox.execution.child"
READ_SIZE = 1 << 18
WALL_NAMES = {"seccomp": SECCOMP_WALL, "landlock": LANDLOCK_WALL}
log = get_logger()


class ChildDiedError(Exception):
    """The child's end of the pipe closed; `started`: it had begun the request; `at`: with this statement."""

    def __init__(self, started: bool, status: int | None, at: int = 0) -> None:
        super().__init__(f"exit status {status}")
        self.started, self.status, self.at = started, status, at


class OverrunError(Exception):
    """The child did not answer in time and has been killed; `at` is the statement that it was running."""

    def __init__(self, at: int = 0) -> None:
        super().__init__(f"statement {at} ran past its deadline")
        self.at = at


class MissingWallsError(UnavailableError):
    """The kernel lacks a wall that this installation requires."""

    code = "sandbox_walls"


class ChildProcess:
    """A running child. The pool lends it to one caller at a time; only `kill` may come from another thread."""

    def __init__(self, limits: Limits, module: str = QUERY_CHILD) -> None:
        self.limits = replace(limits, require_walls=limits.require_walls or SandboxSettings().require_walls)
        memory = create_progress_memory()
        self.progress = Progress(memory)
        self.files, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        try:
            self.process = self._popen(module, memory, theirs.fileno())
        except BaseException:
            self.files.close()
            raise
        finally:
            os.close(memory)
            theirs.close()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        # a child that reads nothing must not block its parent beyond the deadline
        os.set_blocking(self.input, False)
        self._unread = bytearray()
        self._begin_by = 0.0
        self._writable, self._readable = poll_for(self.input, select.POLLOUT), poll_for(self.output, select.POLLIN)

    def _popen(self, module: str, memory: int, files: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            # -P keeps the working directory off the module path
            [sys.executable, "-P", "-m", module, self.limits.to_json(), str(memory), str(files)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # nothing of the worker's environment: it holds keys and passwords
            env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "PATH": os.defpath},
            start_new_session=True,
            bufsize=0,
            pass_fds=(memory, files),
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def walls(self) -> dict[str, bool]:
        bits = self.progress.walls()
        return {name: bool(bits & bit) for name, bit in WALL_NAMES.items()}

    def ask(self, message: dict[str, Any], deadline_s: float, files: Sequence[int] = ()) -> dict[str, Any]:
        self.begin(message, files)
        end = time.monotonic() + deadline_s + self.limits.grace_s
        reply: dict[str, Any] = self._receive(end, started=True)
        return reply

    def begin(self, message: dict[str, Any], files: Sequence[int] = ()) -> None:
        """Send a request and wait until the child reports that it has begun.

        Raises ChildDiedError, or UnavailableError when it never begins (the child is dead then).
        """
        begin_by = time.monotonic() + self.limits.start_s
        try:
            self._hand_over(files)
            self._send(pack({**message, "file_count": len(files)}), begin_by)
            self._receive(begin_by, started=False)
        except OverrunError:
            raise self._never_began() from None

    def send(self, message: dict[str, Any]) -> None:
        """Send a request of many statements, for `replies`, with its database when the child does not have it open.

        Raises ChildDiedError, UnavailableError, or like `open_database_file` (the child is still alive then).
        """
        self.progress.set(NOT_BEGUN)
        self._begin_by = time.monotonic() + self.limits.start_s
        key = (message["database"], *message["identity"])
        known = key in self._open
        if not known:
            with open_database_file(Path(message["database"])) as file:
                self._hand_over([file])
        # mirrors `QueryServer.database`: newest last, the oldest dropped
        self._open[key] = None
        self._open.move_to_end(key)
        while len(self._open) > self.limits.open_databases:
            self._open.popitem(last=False)
        try:
            self._send(pack({**message, "file_count": int(not known)}), self._begin_by)
        except OverrunError:
            raise self._never_began() from None

    def _hand_over(self, files: Sequence[int]) -> None:
        """The child takes the descriptors when it has read the request that counts them."""
        try:
            if files:
                socket.send_fds(self.files, [b"."], list(files))
        except (BrokenPipeError, ConnectionResetError):
            raise self._died(started=False) from None

    def replies(self, deadlines: Sequence[float]) -> list[dict[str, Any]]:
        """The next replies to `send`, one or more. `deadlines` holds those of all statements, each from its start.

        Raises ChildDiedError or OverrunError, which name the statement (the child is dead then), or UnavailableError
        when it never begins.
        """
        last = self._begin_by + sum(deadlines) + len(deadlines) * self.limits.grace_s  # whatever the child reports
        # the running statement changes unseen, so look again after the shortest deadline
        look_again = min(deadlines) + self.limits.grace_s
        while True:
            number, began = self._running(len(deadlines))
            end = self._begin_by if number < 0 else min(began + deadlines[number] + self.limits.grace_s, last)
            if self._unread or wait_ready(self._readable, min(end, time.monotonic() + look_again)):
                break
            if time.monotonic() >= end and self._running(len(deadlines)) == (number, began):
                self._destroy()
                raise OverrunError(number) if number >= 0 else self._never_began()
        # a frame has begun to arrive; its writer does nothing else until the rest is sent
        found = self._receive(time.monotonic() + self.limits.start_s, started=self.progress.get()[0] >= 0)
        if not isinstance(found, list):
            raise self._died(started=True)
        return found

    def _running(self, count: int) -> tuple[int, float]:
        """A child that reports nonsense counts as being in its last statement."""
        number, began = self.progress.get()
        return min(max(number, NOT_BEGUN), count - 1), began

    def _never_began(self) -> UnavailableError:
        return UnavailableError(f"A sandbox child did not start within {self.limits.start_s} s.")

    def _send(self, data: bytes, end: float) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.input, view) :]
            except BlockingIOError:
                self._wait(self._writable, end)
            except BrokenPipeError:
                raise self._died(started=False) from None

    def _receive(self, end: float, *, started: bool) -> Any:
        size = HEADER.unpack(self._take(HEADER.size, end, started))[0]
        # a hostile child could announce any size
        if size > MAX_FRAME:
            raise self._died(started)
        body = self._take(size, end, started)
        try:
            return json.loads(body) if size else {}
        except ValueError:
            raise self._died(started) from None

    def _take(self, size: int, end: float, started: bool) -> bytearray:
        while len(self._unread) < size:
            self._wait(self._readable, end)
            part = os.read(self.output, READ_SIZE)
            if not part:
                raise self._died(started)
            self._unread += part
        taken = self._unread[:size]
        del self._unread[:size]
        return taken

    def _wait(self, poll: "select.poll", end: float) -> None:
        if not wait_ready(poll, end):
            self._destroy()
            raise OverrunError(max(self.progress.get()[0], 0))

    def _died(self, started: bool) -> ChildDiedError | MissingWallsError:
        self._destroy()
        if self.process.returncode == EXIT_WITHOUT_WALLS:
            return MissingWallsError(missing_walls(self.walls))
        return ChildDiedError(started, self.process.returncode, self.progress.get()[0])

    def _destroy(self) -> None:
        self.kill()
        self.reap()

    def kill(self) -> None:
        """May be called from any thread."""
        self.process.kill()

    def reap(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.files.close()


def missing_walls(walls: dict[str, bool]) -> str:
    names = " and ".join(name for name, holds in walls.items() if not holds)
    return (
        f"Sandbox children cannot be walled in: this kernel or container refuses {names}. "
        "Allow it, or unset SENSE_SANDBOX_REQUIRE_WALLS."
    )


def probe_walls(limits: Limits | None = None) -> dict[str, bool]:
    """The walls that a child gets on this machine. Raises MissingWallsError when a required one is missing."""
    child = ChildProcess(limits or Limits())
    try:
        assert child.process.stdin is not None
        child.process.stdin.close()  # the child ends once its walls are up
        child.process.wait(child.limits.start_s)
    except subprocess.TimeoutExpired:
        raise child._never_began() from None
    finally:
        child.kill()
        child.reap()
    if child.process.returncode == EXIT_WITHOUT_WALLS:
        raise MissingWallsError(missing_walls(child.walls))
    return child.walls


def report_walls() -> dict[str, bool]:
    walls = probe_walls()
    for name, holds in walls.items():
        WALLS.labels(wall=name).set(holds)
    say = log.info if all(walls.values()) else log.warning
    say("sandbox.walls", **walls)
    return walls


def poll_for(descriptor: int, event: int) -> "select.poll":
    poll = select.poll()
    poll.register(descriptor, event)
    return poll


def wait_ready(poll: "select.poll", end: float) -> bool:
    """Whether the pipe becomes ready before `end`. Data that is there already counts, however late this thread wakes
    up.
    """
    return bool(poll.poll(max(end - time.monotonic(), 0) * 1000))
