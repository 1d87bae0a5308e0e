"""How a training process ends: exit codes, the message in `error.json`, and stopping it from outside."""

import os
import signal
import sys
import threading
from enum import IntEnum
from types import FrameType

from services.training.config import TrainConfig


class ExitCode(IntEnum):
    OK = 0
    INTERNAL = 1
    DATA = 3
    OUT_OF_MEMORY = 4
    NAN_LOSS = 5
    CANCELLED = 6
    SETTINGS = 7


class TrainingStop(Exception):  # noqa: N818 - a cancelled run is not an error
    """Ends the process with `code`; `message` is one sentence with the cause and the remedy."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def out_of_memory_message(config: TrainConfig, who: str = "The training ran out of memory") -> str:
    size = f"batch_size={config.batch_size}, max_length={config.max_length}, method {config.mode}"
    # the strongest first
    remedies = []
    if config.batch_size > 1:
        half = config.batch_size // 2
        remedies.append(f"set batch_size {half} and gradient_accumulation {config.gradient_accumulation * 2}")
    if not config.gradient_checkpointing:
        remedies.append("switch gradient_checkpointing on")
    if config.mode == "full":
        remedies.append("take method lora")
    remedies.append("lower max_length")
    return f"{who} at {size}: {', or '.join(remedies)}."


class StopFlag:
    """Set by SIGTERM. Phases before the first step call `check`; the training loop reads `is_set`."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Handles SIGTERM; call it from the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def check(self) -> None:
        if self.is_set:
            raise TrainingStop(ExitCode.CANCELLED, "The training was stopped on request.")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


def exit_with_supervisor() -> None:
    """Ends this process when standard input closes: the supervisor holds the other end of that pipe.

    Does nothing on a terminal, so that you can start a run by hand.
    """
    if not sys.stdin.isatty():
        threading.Thread(target=_wait_for_end, name="lifeline", daemon=True).start()


def _wait_for_end() -> None:
    while os.read(0, 4096):
        pass
    # not sys.exit, which would only end this thread
    os._exit(ExitCode.CANCELLED)
