"""Two processes on one machine: what a launch of several GPUs does, here with CPUs and gloo. Run with `-m bench`."""

import json
from pathlib import Path

import pytest

from services.training.checkpoints import sealed_steps
from services.training.config import TrainConfig
from services.training.supervisor import RunStatus, TrainingProcess
from tests.unit.training.test_training import run

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_two_processes_equal_one_larger_batch(
    sft_config: TrainConfig, dpo_config: TrainConfig, tmp_path: Path, method: str
) -> None:
    """Four rows a step, in one process or two by two: the same losses, weights of one run, one line a step."""
    whole = (sft_config if method == "sft" else dpo_config).model_copy(update={"max_steps": 3, "save_steps": 2})
    whole.data.write_text("".join(whole.data.read_text().splitlines(keepends=True)[:4]))
    alone = run(whole)
    update = {"batch_size": 2, "launch": "ddp", "processes": 2, "out_dir": tmp_path / "two"}
    launched = TrainingProcess(whole.model_copy(update=update))
    launched.start()
    state = launched.wait(240)
    assert state.status is RunStatus.FINISHED, (launched.config.out_dir / "train.log").read_text()[-3000:]
    lines = [json.loads(line) for line in launched.config.metrics_file.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for two, one in zip(lines, alone, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=2e-3, abs=1e-5)
        assert two["tokens"] == one["tokens"]
    assert launched.facts()["steps"] == 3
    assert sealed_steps(launched.config.out_dir) == [2, 3]


def test_a_launch_that_fails_says_why_and_one_that_is_stopped_saves(sft_config: TrainConfig, tmp_path: Path) -> None:
    several = sft_config.model_copy(update={"launch": "ddp", "processes": 2, "save_minutes": 60, "max_steps": 100_000})
    broken = TrainingProcess(several.model_copy(update={"max_length": 20, "out_dir": tmp_path / "broken"}))
    broken.start()
    broken.wait(240)
    assert "All 24 rows are longer" in broken.error().message
    running = TrainingProcess(several)
    running.start()
    while not running.new_metrics():
        assert running.poll().status is RunStatus.RUNNING
    running.stop(grace_s=60)
    assert len(sealed_steps(several.out_dir)) == 1
