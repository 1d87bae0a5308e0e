"""The child that builds databases, kept from one to the next: starting an interpreter costs more than a build."""

import threading
from collections.abc import Sequence
from typing import Any

from services.sandbox.limits import Limits
from services.sandbox.process import ChildDiedError, ChildProcess, OverrunError
from shared.errors import CancelledError, UnavailableError

MODULE = "services.sandbox.build_child"
STARTS = 3  # a child that dies before it has begun was no script's victim
MOST_BUILDS = 500  # of one child: whatever a script may leave behind ends with it


class BuildDesk:
    """One caller at a time. A child that dies, overruns or has built enough is replaced."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._turn = threading.Lock()
        self._child: ChildProcess | None = None
        self._built = 0
        self._ended = False

    def ask(self, message: dict[str, Any], deadline_s: float, files: Sequence[int]) -> dict[str, Any]:
        """The child's reply to a request with these files.

        Raises OverrunError, ChildDiedError, UnavailableError, or CancelledError once it ended.
        """
        with self._turn:
            for _ in range(STARTS):
                try:
                    return self._once(message, deadline_s, files)
                except ChildDiedError as death:
                    if death.started:
                        raise
        raise UnavailableError("Sandbox children die before they start; run `sense doctor`.")

    def _once(self, message: dict[str, Any], deadline_s: float, files: Sequence[int]) -> dict[str, Any]:
        try:
            return self._take().ask(message, deadline_s, files)
        except BaseException as error:
            self._drop()  # whatever it was, a late reply must not be taken for the next one's
            if self._ended and isinstance(error, OverrunError | ChildDiedError):
                raise CancelledError("The sandbox was stopped while it built a database.") from None
            raise

    @property
    def pid(self) -> int | None:
        """The child's process id, where there is one."""
        return self._child.pid if self._child is not None else None

    def kill(self) -> None:
        """SIGKILL the child at once; whoever waits or calls later gets CancelledError."""
        self._ended = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        """Ends the child and waits for it."""
        self.kill()
        with self._turn:
            self._drop()

    def _take(self) -> ChildProcess:
        """A living child that was not used too often."""
        if self._built >= MOST_BUILDS or (self._child is not None and not self._child.alive):
            self._drop()
        if self._child is None:
            try:
                self._child = ChildProcess(self.limits, MODULE)
            except OSError as error:
                raise UnavailableError(f"A sandbox child cannot be started: {error}.") from error
        if self._ended:
            self._child.kill()
        self._built += 1
        return self._child

    def _drop(self) -> None:
        child, self._child, self._built = self._child, None, 0
        if child is not None:
            child.kill()
            child.reap()
