"""Training all weights: DPO and its control go on from the full model that SFT left."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.jobs.state import ShardState
from tests.support.training_jobs import TrainingWorld, make_world
from tests.support.valkey import module_redis_url
from tests.unit.training.conftest import dpo_line, sft_line, tiny_base

__all__ = ["module_redis_url", "tiny_base"]

FULL = {"mode": "full"}
SETTINGS = {"max_steps": 3, "batch_size": 4, "max_length": 256, "learning_rate": 1e-3}


def lines(make: Callable[[int], dict[str, object]], count: int) -> bytes:
    return "".join(json.dumps(make(index)) + "\n" for index in range(count)).encode()


@pytest.fixture
def world(module_redis_url: str, tiny_base: Path, tmp_path: Path) -> TrainingWorld:
    return make_world(tmp_path, module_redis_url, tiny_base)


def test_preference_training_goes_on_from_a_full_model(world: TrainingWorld) -> None:
    def train(name: str, data: bytes, **more: object) -> list[dict[str, float]]:
        job = world.submit(data, name, {**FULL, **more}, **SETTINGS)
        row = world.finish(job)
        assert row.state == ShardState.DONE, (row.error, world.log()[-2000:])
        return world.curve(job)

    try:
        sft = train("whole-sft", lines(sft_line, 12))
        dpo = train("whole-dpo", lines(dpo_line, 8), method="dpo", recipe="dpo", parent="whole-sft")
        control = train("whole-control", lines(sft_line, 12), recipe="control", parent="whole-sft")
    finally:
        world.stop()
    assert dpo[0]["margin"] == pytest.approx(0.0, abs=1e-5)  # the reference is the SFT model itself
    assert dpo[-1]["margin"] > 0
    assert control[0]["loss"] < sft[0]["loss"]
    manifest = world.manifest("whole-dpo")
    assert (manifest.mode, manifest.parent) == ("full", "whole-sft")
    assert any(name.endswith(".safetensors") and "adapter" not in name for name in manifest.files)
