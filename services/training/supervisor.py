"""Starts, watches and stops the training process, which never outlives its supervisor. Imports no torch."""

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
from services.training.exits import ExitCode, out_of_memory_message
from shared.errors import CancelledError, InvalidInputError, SenseError, UnavailableError
from shared.files import parse_json_lines
from shared.processes.lifecycle import without_secrets

RUN_MODULE = "services.training.run"
ACCELERATE_CONFIGS = Path(__file__).parent / "presets" / "accelerate"
LOG_TAIL_BYTES = 2000
MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


def launch_command(config: TrainConfig, config_file: Path) -> list[str]:
    """The command for one process, or for one per GPU of this machine. All processes read the same `config_file`.

    `ddp` uses PyTorch's own launcher and also works on CPUs; `fsdp` and `zero3` use accelerate.
    """
    python, run = [sys.executable, "-m"], ["-m", RUN_MODULE, str(config_file)]
    if config.launch == "single":
        return [*python, RUN_MODULE, str(config_file)]
    if config.launch == "ddp":
        return [*python, "torch.distributed.run", "--standalone", "--nproc_per_node", str(config.processes), *run]
    words = ["accelerate.commands.launch", "--config_file", str(ACCELERATE_CONFIGS / f"{config.launch}.yaml")]
    words += ["--num_machines", "1", "--num_processes", str(config.processes), "--main_process_port", "0"]
    return [*python, *words, *run]


class RunStatus(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class RunState(NamedTuple):
    """`exit_code` is None while the process runs, and negative if a signal ended it."""

    status: RunStatus
    exit_code: int | None


class TrainingProcess:
    """One training process. Its standard input is a pipe from the supervisor, so it ends when the supervisor dies."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0
        self._stopping = False
        self._kills_before = 0

    def start(self) -> None:
        out_dir = self.config.out_dir
        out_dir.mkdir(parents=True, exist_ok=True)
        path = out_dir / "config.json"
        path.write_text(self.config.model_dump_json(indent=2))
        command = launch_command(self.config, path.resolve())
        # an earlier attempt has already reported its lines
        self._read = self.config.metrics_file.stat().st_size if self.config.metrics_file.exists() else 0
        # the counter of the control group never falls, so only a rise says something
        self._kills_before = count_oom_kills()
        with (out_dir / "train.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=Path(__file__).parents[2],
                env=without_secrets(os.environ),
                # the lifeline: it closes when this process dies
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # its own process group, so that a kill reaches all of its processes
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._started().pid

    def poll(self) -> RunState:
        code = self._started().poll()
        if code is None:
            return RunState(RunStatus.RUNNING, None)
        return RunState(RunStatus.FINISHED if code == ExitCode.OK else RunStatus.FAILED, code)

    def wait(self, timeout_s: float | None = None) -> RunState:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started().wait(timeout_s)
        return self.poll()

    def new_metrics(self) -> list[dict[str, Any]]:
        """The complete metric lines written since the last call."""
        try:
            with self.config.metrics_file.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        # the process may be in the middle of a line
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return parse_json_lines(whole)

    def stop(self, grace_s: float) -> RunState:
        """Sends SIGTERM (the run stops after its current step), then SIGKILL after `grace_s` seconds."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        state = self.wait(grace_s)
        if state.status is RunStatus.RUNNING:
            self.kill()
        return self.poll()

    def kill(self) -> None:
        """Sends SIGKILL to the process group and waits until the process is gone.

        The processes of a launch run in sessions of their own; they end with the pipe.
        """
        self._stopping = True
        self._signal(signal.SIGKILL)
        process = self._started()
        if process.stdin is not None:
            process.stdin.close()
        process.wait()

    def facts(self) -> dict[str, Any]:
        """The artefact's train.json. Raises `error()` if the run did not finish."""
        if self.poll().status is not RunStatus.FINISHED:
            raise self.error()
        facts: dict[str, Any] = json.loads((self.config.artefact_dir / "train.json").read_text())
        return facts

    def error(self) -> SenseError:
        code, message = self._cause()
        if self._stopping:
            return CancelledError(message or "The training was stopped on request.")
        if code in (ExitCode.CANCELLED, -signal.SIGTERM):
            message = "The training process was stopped from outside (preempted); it goes on from its last checkpoint."
            return UnavailableError(message, code="training_preempted")
        if code == ExitCode.DATA:
            return InvalidInputError(message or "The training data cannot be used.", code="training_data")
        if code == ExitCode.SETTINGS:
            return InvalidInputError(message or "The settings do not fit this machine.", code="training_settings")
        if code == ExitCode.NAN_LOSS:
            return InvalidInputError(message or "The loss was not a finite number.", code="training_nan_loss")
        if code == ExitCode.OUT_OF_MEMORY:
            return UnavailableError(
                message or out_of_memory_message(self.config), code="training_out_of_memory", retryable=False
            )
        if code is not None and code < 0:
            return self._ended_by_signal(-code)
        return SenseError(message or f"The training process ended with exit code {code}: {self._log_tail()}")

    def _ended_by_signal(self, number: int) -> SenseError:
        """A kill from outside often does not repeat; only the kernel's count proves that memory was the cause."""
        name = signal.Signals(number).name
        if number == signal.SIGKILL and count_oom_kills() > self._kills_before:
            message = out_of_memory_message(self.config, "The kernel ended the training for memory")
            return UnavailableError(message, code="training_out_of_memory", retryable=False)
        if number == signal.SIGKILL:
            remedy = out_of_memory_message(self.config, "If it was for memory (dmesg says)")
            return UnavailableError(f"The training process was killed from outside. {remedy}", code="training_killed")
        return UnavailableError(f"The training process crashed ({name}): {self._log_tail()}", code="training_lost")

    def _cause(self) -> tuple[int | None, str | None]:
        """Exit code and message. error.json is more precise than the exit code of a launcher."""
        code = self.poll().exit_code
        try:
            left = {k: str(v) for k, v in json.loads((self.config.out_dir / "error.json").read_text()).items()}
        except (OSError, ValueError, AttributeError):
            return code, None
        if left.get("code", "").upper() in ExitCode.__members__:
            code = ExitCode[left["code"].upper()]
        return code, left.get("message")

    def _log_tail(self) -> str:
        try:
            text = (self.config.out_dir / "train.log").read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
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


def count_oom_kills() -> int:
    try:
        fields = dict(line.split() for line in MEMORY_EVENTS.read_text().splitlines())
        return int(fields.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0
