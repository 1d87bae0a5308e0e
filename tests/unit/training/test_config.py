"""Configs and presets."""

import os
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.training.config import TrainConfig, load_preset, preset_names
from services.training.run import devices
from services.training.run.devices import CpuUsage, ThreadGauge, free_cores, read_usage
from shared.errors import InvalidInputError

FILES = {"name": "n", "base_name": "b", "base_dir": "base", "data": "rows.jsonl", "out_dir": "out"}


def test_dpo_needs_its_sft_adapter() -> None:
    with pytest.raises(ValidationError, match="parent_adapter"):
        TrainConfig.model_validate({**FILES, "method": "dpo"})
    assert TrainConfig.model_validate({**FILES, "method": "dpo", "mode": "full"}).parent_adapter is None


def test_paths_become_absolute_and_unknown_fields_fail() -> None:
    assert TrainConfig.model_validate({**FILES, "method": "sft"}).out_dir == Path.cwd() / "out"
    with pytest.raises(ValidationError, match="leraning_rate"):
        TrainConfig.model_validate({**FILES, "method": "sft", "leraning_rate": 1e-3})


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_makes_configs(name: str) -> None:
    preset = load_preset(name)
    for method, recipe in (("sft", preset.sft), ("dpo", preset.dpo), ("sft", preset.control)):
        config = TrainConfig.model_validate({**recipe.model_dump(), **FILES, "method": method, "parent_adapter": "p"})
        assert config.learning_rate == recipe.learning_rate
    assert preset.dpo.learning_rate <= 2e-4
    assert preset.control.batch_size == preset.dpo.batch_size


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="cpu-demo"):
        load_preset("gpu-dream")


@pytest.mark.parametrize(
    ("busy", "own", "free"),
    [(0.0, 0.0, 4), (36.0, 36.0, 4), (40.0, 20.0, 2), (40.0, 0.0, 0), (31.0, 20.0, 3), (14.0, 10.0, 4)],
)
def test_cores_that_others_use_are_left_alone(busy: float, own: float, free: int) -> None:
    """Ten seconds on four cores; `own` is this process's share of `busy`."""
    before, after = CpuUsage(100.0, 50.0, 7.0), CpuUsage(110.0, 50.0 + busy, 7.0 + own)
    assert free_cores(4, before, after) == free


def test_a_gauge_gives_at_least_one_thread_and_heeds_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    busy, burst = [CpuUsage(1, 2, 0), CpuUsage(3, 6, 0)], [CpuUsage(8, 6, 0), CpuUsage(12, 6, 0), CpuUsage(13, 7, 0)]
    readings = iter([CpuUsage(0, 0, 0), *busy, *burst])
    monkeypatch.setattr(devices, "read_usage", lambda _: next(readings))
    monkeypatch.setattr(devices, "cpu_quota", lambda: 64)
    gauge = ThreadGauge()
    assert [gauge.threads() for _ in busy] == [1, 1]
    assert [gauge.threads() for _ in burst] == [2, 2, 2]  # a second's work of another costs no thread
    monkeypatch.setattr(devices, "cpu_quota", lambda: 1)
    readings = iter([CpuUsage(0, 0, 0), CpuUsage(1, 0, 0)])
    assert ThreadGauge().threads() == 1


def test_usage_counts_this_process_work() -> None:
    cores = sorted(os.sched_getaffinity(0))
    before = read_usage(cores)
    deadline = time.process_time() + 0.3
    while time.process_time() < deadline:
        pass
    after = read_usage(cores)
    assert after.own - before.own >= 0.3
    assert after.busy - before.busy >= 0.2
