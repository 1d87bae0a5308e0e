"""How a training process ends: its exit code and the sentence it leaves in `error.json`."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `python -m services.training.run`."""

    OK = 0
    INTERNAL = 1
    DATA = 3
    OUT_OF_MEMORY = 4
    NAN_LOSS = 5
    CANCELLED = 6


class TrainingStop(Exception):  # noqa: N818 - a cancelled run is no error
    """Ends the process with `code`; `message` is one sentence with the cause and the remedy."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
