"""Configs and presets."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.training.config import TrainConfig
from services.training.presets import load_preset, preset_names
from services.training.run import threads
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


def test_busy_cores_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = iter([[(0, 0)] * 4, [(40, 40), (38, 40), (1, 40), (0, 40)]])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(threads, "_busy", lambda _: next(samples))
    monkeypatch.setattr(threads, "_quota", lambda: 64)
    assert threads.free_threads() == 2


def test_at_least_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = iter([[(0, 0)] * 2, [(40, 40), (40, 40)]])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threads, "_busy", lambda _: next(samples))
    assert threads.free_threads() == 1
