"""Training as a child process that can be watched, stopped and never left behind. Imports no torch."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from services.training.config import TrainConfig
from services.training.exits import ExitCode
from shared.errors import CancelledError, InvalidInputError, SenseError, UnavailableError

LOG_TAIL = 2000


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class RunState(NamedTuple):
    """`exit_code` is None while it runs; negative when a signal ended it."""

    status: RunStatus
    exit_code: int | None


class TrainingRun:
    """One training process. Its standard input is a pipe from this process: when this one dies, it ends too."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0
        self._stopping = False

    def start(self) -> None:
        """Starts the process in a session of its own; `out_dir` gets config.json, train.log and metrics.jsonl."""
        out_dir = self.config.out_dir
        out_dir.mkdir(parents=True, exist_ok=True)
        path = out_dir / "config.json"
        path.write_text(self.config.model_dump_json(indent=2))
        command = [sys.executable, "-m", "services.training.run", str(path.resolve())]
        with (out_dir / "train.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, also the id of its group."""
        return self._started().pid

    def poll(self) -> RunState:
        """Where the run stands now; never waits."""
        code = self._started().poll()
        if code is None:
            return RunState(RunStatus.RUNNING, None)
        return RunState(RunStatus.FINISHED if code == ExitCode.OK else RunStatus.FAILED, code)

    def wait(self, timeout_s: float | None = None) -> RunState:
        """Waits for the end, at most `timeout_s` seconds, and says where the run stands."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started().wait(timeout_s)
        return self.poll()

    def new_metrics(self) -> list[dict[str, Any]]:
        """The metric lines that were completed since the last call."""
        try:
            with self.config.metrics_file.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def stop(self, grace_s: float) -> RunState:
        """SIGTERM to the group (the run stops after its current step), SIGKILL after `grace_s` seconds."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        state = self.wait(grace_s)
        if state.status is RunStatus.RUNNING:
            self.kill()
        return self.poll()

    def kill(self) -> None:
        """SIGKILL to the group, and waits until the process is gone."""
        self._stopping = True
        self._signal(signal.SIGKILL)
        self._started().wait()

    def facts(self) -> dict[str, Any]:
        """The artefact's train.json; raises `error()` when the run did not finish."""
        if self.poll().status is not RunStatus.FINISHED:
            raise self.error()
        facts: dict[str, Any] = json.loads((self.config.artefact_dir / "train.json").read_text())
        return facts

    def error(self) -> SenseError:
        """The end of a failed run as an error with cause and remedy."""
        code = self.poll().exit_code
        message = self._message()
        if self._stopping or code in (ExitCode.CANCELLED, -signal.SIGTERM):
            return CancelledError(message or "The training was stopped on request.")
        if code == ExitCode.DATA:
            return InvalidInputError(message or "The training data cannot be used.", code="training_data")
        if code == ExitCode.NAN_LOSS:
            return InvalidInputError(message or "The loss was not a finite number.", code="training_nan_loss")
        if code == ExitCode.OUT_OF_MEMORY:
            full = "The training ran out of memory: lower batch_size or max_length."
            return UnavailableError(message or full, code="training_out_of_memory", retryable=False)
        if code == -signal.SIGKILL:
            # another attempt is worth its price: what kills from outside is often gone by then
            killed = (
                "The training process was killed from outside; if it was for memory, lower batch_size or max_length."
            )
            return UnavailableError(killed, code="training_killed")
        return SenseError(message or f"The training process ended with exit code {code}: {self._log_tail()}")

    def _message(self) -> str | None:
        try:
            return str(json.loads((self.config.out_dir / "error.json").read_text())["message"])
        except (OSError, ValueError, KeyError):
            return None

    def _log_tail(self) -> str:
        try:
            text = (self.config.out_dir / "train.log").read_bytes()[-LOG_TAIL:].decode(errors="replace")
        except OSError:
            return "it left no log."
        lines = text.strip().splitlines()
        return lines[-1] if lines else "it left no log."

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise SenseError("The training run was not started.")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        process = self._started()
        if process.poll() is None:
            os.killpg(process.pid, number)
