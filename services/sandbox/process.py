"""The parent's end of one child: start, ask within a deadline, kill."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.sandbox.frames import HEADER, MAX_FRAME, pack
from services.sandbox.limits import Limits
from services.sandbox.progress import NOT_BEGUN, Progress, shared_memory
from shared.errors import UnavailableError

ROOT = Path(__file__).resolve().parents[2]
MODULE = "services.sandbox.child"
READ_SIZE = 1 << 18


class ChildDiedError(Exception):
    """The child's end of the pipe closed. `started` says whether it had begun the request, `at` at which statement."""

    def __init__(self, started: bool, status: int | None, at: int = 0) -> None:
        super().__init__(f"exit status {status}")
        self.started, self.status, self.at = started, status, at


class OverrunError(Exception):
    """The child did not answer in time and has been killed; `at` is the statement that it was in."""

    def __init__(self, at: int = 0) -> None:
        super().__init__(f"statement {at} ran past its deadline")
        self.at = at


class ChildProcess:
    """A running child. The pool gives it to one caller at a time; only `kill` may come from another thread."""

    def __init__(self, limits: Limits, module: str = MODULE) -> None:
        self.limits = limits
        memory = shared_memory()
        self.progress = Progress(memory)
        self.process = self._start(module, memory)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.input, False)
        self._unread = bytearray()
        self._begin_by = 0.0
        self._writable, self._readable = poll_for(self.input, select.POLLOUT), poll_for(self.output, select.POLLIN)

    def _start(self, module: str, memory: int) -> "subprocess.Popen[bytes]":
        try:
            return self._popen(module, memory)
        finally:
            os.close(memory)

    def _popen(self, module: str, memory: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, self.limits.to_json(), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "PATH": os.defpath},
            start_new_session=True,
            bufsize=0,
            pass_fds=(memory,),
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs, as far as the kernel has said."""
        return self.process.poll() is None

    def ask(self, message: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """One request, one reply. Raises what `begin` and `replies` raise."""
        self.begin(message)
        reply: dict[str, Any] = self._receive(self._end(deadline_s), started=True)
        return reply

    def begin(self, message: dict[str, Any]) -> None:
        """Send a request and wait for the child's word that it has begun.

        Raises ChildDiedError, UnavailableError when it never begins (the child is dead then).
        """
        begin_by = time.monotonic() + self.limits.start_s
        try:
            self._send(pack(message), begin_by)
            self._receive(begin_by, started=False)
        except OverrunError:
            raise self._never_began() from None

    def send(self, message: dict[str, Any]) -> None:
        """Send a request of many statements, for `replies`. Raises ChildDiedError, UnavailableError."""
        self.progress.set(NOT_BEGUN)
        self._begin_by = time.monotonic() + self.limits.start_s
        try:
            self._send(pack(message), self._begin_by)
        except OverrunError:
            raise self._never_began() from None

    def replies(self, deadlines: Sequence[float]) -> list[dict[str, Any]]:
        """The next replies to `send`, one or more. `deadlines` are those of all its statements, each from its begin.

        Raises ChildDiedError, OverrunError (the child is dead then; both name the statement), UnavailableError when it
        never begins.
        """
        last = self._begin_by + sum(deadlines) + len(deadlines) * self.limits.grace_s  # whatever a child says
        look_again = min(deadlines) + self.limits.grace_s
        while True:
            number, began = self._running(len(deadlines))
            end = self._begin_by if number < 0 else min(began + deadlines[number] + self.limits.grace_s, last)
            if self._unread or ready(self._readable, min(end, time.monotonic() + look_again)):
                return self._reply_list()
            if time.monotonic() >= end and self._running(len(deadlines)) == (number, began):
                self._destroy()
                raise OverrunError(number) if number >= 0 else self._never_began()

    def _reply_list(self) -> list[dict[str, Any]]:
        """A frame that has begun to arrive; its writer has nothing else to do than to write the rest."""
        found = self._receive(time.monotonic() + self.limits.start_s, started=self.progress.get()[0] >= 0)
        if not isinstance(found, list):
            raise self._died(started=True)
        return found

    def _running(self, count: int) -> tuple[int, float]:
        """The statement that runs now and its begin; a child that says nonsense is in its last."""
        number, began = self.progress.get()
        return min(max(number, NOT_BEGUN), count - 1), began

    def _never_began(self) -> UnavailableError:
        return UnavailableError(f"A sandbox child did not start within {self.limits.start_s} s.")

    def _end(self, deadline_s: float) -> float:
        return time.monotonic() + deadline_s + self.limits.grace_s

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
        if not ready(poll, end):
            self._destroy()
            raise OverrunError(max(self.progress.get()[0], 0))

    def _died(self, started: bool) -> ChildDiedError:
        self._destroy()
        number = self.progress.get()[0]
        return ChildDiedError(started, self.process.returncode, number)

    def _destroy(self) -> None:
        self.kill()
        self.reap()

    def kill(self) -> None:
        """SIGKILL, from any thread."""
        self.process.kill()

    def reap(self) -> None:
        """Wait for the end and let go of pipes and memory."""
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def poll_for(descriptor: int, event: int) -> "select.poll":
    """A poll object for one event of one descriptor."""
    poll = select.poll()
    poll.register(descriptor, event)
    return poll


def ready(poll: "select.poll", end: float) -> bool:
    """Whether the pipe becomes ready before `end`. What lies there already counts, however late we were woken."""
    return bool(poll.poll(max(end - time.monotonic(), 0) * 1000))
