"""The parent's end of one child: start, ask within a deadline, kill."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from services.sandbox.frames import HEADER, MAX_FRAME, pack
from services.sandbox.limits import Limits
from shared.errors import UnavailableError

ROOT = Path(__file__).resolve().parents[2]
MODULE = "services.sandbox.child"
READ_SIZE = 1 << 18


class ChildDiedError(Exception):
    """The child's end of the pipe closed. `started` says whether it had begun the request."""

    def __init__(self, started: bool, status: int | None) -> None:
        super().__init__(f"exit status {status}")
        self.started, self.status = started, status


class OverrunError(Exception):
    """The child did not answer in time and has been killed."""


class ChildProcess:
    """A running child. The pool gives it to one caller at a time; only `kill` may come from another thread."""

    def __init__(self, limits: Limits, module: str = MODULE) -> None:
        self.limits = limits
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, limits.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "PATH": os.defpath},
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.input, False)
        self._unread = bytearray()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs, as far as the kernel has said."""
        return self.process.poll() is None

    def ask(self, message: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """One request, one reply; `begin` and `receive` say what is raised."""
        self.begin(message)
        return self.receive(deadline_s)

    def begin(self, message: dict[str, Any]) -> None:
        """Send a request and wait for the child's word that it has begun.

        Raises ChildDiedError, UnavailableError when it never begins (the child is dead then).
        """
        begin_by = time.monotonic() + self.limits.start_s
        try:
            self._send(pack(message), begin_by)
            self._receive(begin_by, started=False)
        except OverrunError:
            raise UnavailableError(f"A sandbox child did not start within {self.limits.start_s} s.") from None

    def receive(self, deadline_s: float) -> dict[str, Any]:
        """The next reply; the deadline counts from now, which is when the child began that statement.

        Raises ChildDiedError, OverrunError (the child is dead then).
        """
        return self._receive(time.monotonic() + deadline_s + self.limits.grace_s, started=True)

    def _send(self, data: bytes, end: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self.input, select.POLLOUT, end)
            try:
                view = view[os.write(self.input, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._died(started=False) from None

    def _receive(self, end: float, *, started: bool) -> dict[str, Any]:
        size = HEADER.unpack(self._take(HEADER.size, end, started))[0]
        if size > MAX_FRAME:
            raise self._died(started)

        reply: dict[str, Any] = json.loads(self._take(size, end, started)) if size else {}
        return reply

    def _take(self, size: int, end: float, started: bool) -> bytearray:
        while len(self._unread) < size:
            self._wait(self.output, select.POLLIN, end)
            part = os.read(self.output, READ_SIZE)
            if not part:
                raise self._died(started)
            self._unread += part
        taken = self._unread[:size]
        del self._unread[:size]
        return taken

    def _wait(self, descriptor: int, event: int, end: float) -> None:
        """Until the pipe is ready. What lies there already counts, however late this process was woken."""
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(end - time.monotonic(), 0) * 1000):
            self.kill()
            self.reap()
            raise OverrunError

    def _died(self, started: bool) -> ChildDiedError:
        self.kill()
        self.reap()
        return ChildDiedError(started, self.process.returncode)

    def kill(self) -> None:
        """SIGKILL, from any thread."""
        self.process.kill()

    def reap(self) -> None:
        """Wait for the end and let go of the pipes."""
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
