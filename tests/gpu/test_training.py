"""What only a GPU can show: QLoRA, sharded full training, memory that is given back. `pytest -m gpu tests/gpu`."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from services.training.config import TrainConfig
from services.training.supervisor import RunStatus, TrainingProcess
from tests.unit.training.conftest import dpo_config, sft_artefact, sft_config, tiny_base

__all__ = ["dpo_config", "sft_artefact", "sft_config", "tiny_base"]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


def finished(config: TrainConfig) -> list[float]:
    """The losses of a supervised run that must succeed."""
    run = TrainingProcess(config)
    run.start()
    state = run.wait(280)
    assert state.status is RunStatus.FINISHED, f"{run.error()}\n{(config.out_dir / 'train.log').read_text()[-3000:]}"
    return [line["loss"] for line in run.new_metrics()]


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_bfloat16_lora_learns(sft_config: TrainConfig, dpo_config: TrainConfig, method: str) -> None:
    config = (sft_config if method == "sft" else dpo_config).model_copy(update={"bf16": True, "threads": None})
    losses = finished(config)
    assert losses[-1] < losses[0]


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_qlora_learns(sft_config: TrainConfig) -> None:
    losses = finished(sft_config.model_copy(update={"quantization": "4bit", "bf16": True}))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("launch", ["fsdp", "zero3"])
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_sharded_full_training_learns(
    sft_config: TrainConfig, dpo_config: TrainConfig, launch: str, method: str
) -> None:
    if launch == "zero3" and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    config = sft_config if method == "sft" else dpo_config
    update = {"mode": "full", "launch": launch, "processes": torch.cuda.device_count(), "learning_rate": 1e-3}
    losses = finished(config.model_copy(update={**update, "bf16": True, "gradient_checkpointing": True}))
    assert losses[-1] < losses[0]
    assert list(Path(config.artefact_dir).glob("*.safetensors"))


def test_out_of_memory_is_named_and_gives_everything_back(sft_config: TrainConfig) -> None:
    before = torch.cuda.mem_get_info()[0]
    hog = torch.empty(max(1, before - 2**28), dtype=torch.uint8, device="cuda")
    try:
        run = TrainingProcess(sft_config.model_copy(update={"bf16": True}))
        run.start()
        run.wait(280)
        if run.poll().status is RunStatus.FAILED:
            assert run.error().code == "training_out_of_memory"
            assert "batch_size" in run.error().message
    finally:
        del hog
        torch.cuda.empty_cache()
    assert abs(torch.cuda.mem_get_info()[0] - before) < 2**30
