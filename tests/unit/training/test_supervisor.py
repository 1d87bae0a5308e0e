"""The child process: how it ends, what it leaves, and that it never outlives its supervisor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.training.config import TrainConfig
from services.training.exits import ExitCode
from services.training.supervisor import RunStatus, TrainingProcess
from shared.errors import CancelledError, InvalidInputError, SenseError

PATIENCE_S = 120


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def endless(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"max_steps": 1_000_000, "learning_rate": 1e-5})


def test_a_run_finishes_with_metrics_and_facts(sft_config: TrainConfig) -> None:
    run = TrainingProcess(sft_config)
    run.start()
    state = run.wait(PATIENCE_S)
    assert (state.status, state.exit_code) == (RunStatus.FINISHED, ExitCode.OK)
    assert [line["step"] for line in run.new_metrics()] == list(range(1, 11))
    assert run.new_metrics() == []
    assert run.facts()["steps"] == 10


def test_a_run_is_told_no_secret(sft_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_REDIS_URL", "redis://:geheim@127.0.0.1:6390/0")
    monkeypatch.setenv("SENSE_STORE_SECRET_KEY", "geheim")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = TrainingProcess(sft_config)
    run.start()
    try:
        seen = Path(f"/proc/{run.pid}/environ").read_bytes()
    finally:
        run.kill()
    assert b"geheim" not in seen and b"CUDA_VISIBLE_DEVICES" in seen


def test_metrics_are_live_and_stop_ends_the_run_between_steps(sft_config: TrainConfig) -> None:
    run = TrainingProcess(endless(sft_config))
    run.start()
    seen: list[int] = []

    def three_steps() -> bool:
        seen.extend(line["step"] for line in run.new_metrics())
        return len(seen) >= 3

    wait_for(three_steps)
    assert run.poll().status is RunStatus.RUNNING
    state = run.stop(grace_s=PATIENCE_S)
    assert (state.status, state.exit_code) == (RunStatus.FAILED, ExitCode.CANCELLED)
    seen.extend(line["step"] for line in run.new_metrics())
    assert seen == list(range(1, len(seen) + 1))
    assert not sft_config.artefact_dir.exists()
    with pytest.raises(CancelledError):
        run.facts()


def test_a_run_that_ignores_sigterm_is_killed(sft_config: TrainConfig) -> None:
    run = TrainingProcess(endless(sft_config))
    run.start()
    wait_for(lambda: bool(run.new_metrics()))
    os.kill(run.pid, signal.SIGSTOP)
    state = run.stop(grace_s=0.2)
    assert state.exit_code == -signal.SIGKILL
    assert not alive(run.pid)
    assert isinstance(run.error(), CancelledError)


def test_data_errors_come_back_with_their_sentence(sft_config: TrainConfig) -> None:
    run = TrainingProcess(sft_config.model_copy(update={"max_length": 60}))
    run.start()
    assert run.wait(PATIENCE_S).exit_code == ExitCode.DATA
    error = run.error()
    assert isinstance(error, InvalidInputError)
    assert (error.code, error.retryable) == ("training_data", False)
    assert "max_length=60" in error.message


def test_a_killed_run_may_be_tried_again(sft_config: TrainConfig) -> None:
    run = TrainingProcess(endless(sft_config))
    run.start()
    os.kill(run.pid, signal.SIGKILL)
    run.wait(PATIENCE_S)
    assert run.error().code == "training_killed"
    assert run.error().retryable


def test_an_absent_base_is_named(sft_config: TrainConfig, tmp_path: Path) -> None:
    run = TrainingProcess(sft_config.model_copy(update={"base_dir": tmp_path / "nowhere"}))
    run.start()
    assert run.wait(PATIENCE_S).exit_code == ExitCode.DATA
    assert "base tiny is absent" in run.error().message
    assert "nowhere" in run.error().message


def test_a_run_that_was_not_started_says_so(sft_config: TrainConfig) -> None:
    with pytest.raises(SenseError, match="not started"):
        TrainingProcess(sft_config).poll()


SUPERVISOR = """
import sys, time
from services.training.config import TrainConfig
from services.training.supervisor import TrainingProcess
run = TrainingProcess(TrainConfig.model_validate_json(open(sys.argv[1]).read()))
run.start()
print(run.pid, flush=True)
time.sleep(1000)
"""


def test_the_run_ends_when_its_supervisor_is_killed(sft_config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(endless(sft_config).model_dump_json())
    command = [sys.executable, "-c", SUPERVISOR, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        wait_for(lambda: sft_config.metrics_file.exists() and sft_config.metrics_file.stat().st_size > 0)
        assert alive(child)
        supervisor.kill()
    wait_for(lambda: not alive(child))


def test_the_supervisor_imports_no_torch() -> None:
    code = "import services.training.supervisor, services.training.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
