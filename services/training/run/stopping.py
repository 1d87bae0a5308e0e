"""What ends a run from outside: SIGTERM (at the next step) and the supervisor's death (at once)."""

import os
import signal
import sys
import threading
from types import FrameType

from services.training.exits import ExitCode, TrainingStop


class StopFlag:
    """Set by SIGTERM; phases before the first step ask `check`, the training loop asks `is_set`."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Takes over SIGTERM in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def check(self) -> None:
        """Raises the cancelled stop once the signal came."""
        if self.is_set:
            raise TrainingStop(ExitCode.CANCELLED, "The training was stopped on request.")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


def exit_with_parent() -> None:
    """Ends this process when standard input reaches its end: the supervisor holds the other end of that pipe.

    A terminal is left alone, so that a person can start a run by hand.
    """
    if not sys.stdin.isatty():
        threading.Thread(target=_wait_for_end, name="lifeline", daemon=True).start()


def _wait_for_end() -> None:
    while os.read(0, 4096):
        pass
    os._exit(ExitCode.CANCELLED)
