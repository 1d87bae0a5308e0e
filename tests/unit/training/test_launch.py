"""What is started, and what each end of it means."""

import json
import signal
import sys
from pathlib import Path

import pytest
import yaml

from services.training import supervisor
from services.training.config import TrainConfig, load_preset, preset_names
from services.training.exits import ExitCode, TrainingStop
from services.training.run.model import check_machine
from services.training.supervisor import ACCELERATE_CONFIGS, RunState, RunStatus, TrainingProcess, launch_command
from shared.errors import SenseError

PRESETS = ["cpu-demo", "cpu-smoke", "gpu-13b-zero3", "gpu-7b-full-fsdp", "gpu-7b-lora", "sense-paper"]


def test_the_presets_are_those_that_are_documented() -> None:
    assert preset_names() == PRESETS


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("cpu-demo", "-m services.training.run CONFIG"),
        ("gpu-7b-lora", "-m services.training.run CONFIG"),
        (
            "gpu-7b-full-fsdp",
            "fsdp.yaml --num_machines 1 --num_processes 8 --main_process_port 0 -m services.training.run",
        ),
        (
            "gpu-13b-zero3",
            "zero3.yaml --num_machines 1 --num_processes 8 --main_process_port 0 -m services.training.run",
        ),
    ],
)
def test_the_command_line_of_a_preset(sft_config: TrainConfig, preset: str, words: str) -> None:
    recipe = load_preset(preset).sft
    config = sft_config.model_copy(update=recipe.model_dump())
    command = launch_command(config, Path("CONFIG"))
    assert command[0] == sys.executable
    assert words in " ".join(command)
    assert command[-1] == "CONFIG"
    assert ("accelerate.commands.launch" in command) == (recipe.launch in ("fsdp", "zero3"))


def test_several_processes_without_accelerate(sft_config: TrainConfig) -> None:
    command = launch_command(sft_config.model_copy(update={"launch": "ddp", "processes": 2}), Path("CONFIG"))
    assert command[1:] == [
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *("-m", "services.training.run", "CONFIG"),
    ]


@pytest.mark.parametrize("name", ["fsdp", "zero3"])
def test_accelerate_reads_its_files(name: str) -> None:
    """accelerate's own loader knows every key."""
    from accelerate.commands.config.config_args import load_config_from_file

    path = ACCELERATE_CONFIGS / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.distributed_type.value == {"fsdp": "FSDP", "zero3": "DEEPSPEED"}[name]
    assert set(yaml.safe_load(path.read_text())) <= set(config.to_dict()) | {"fsdp_config", "deepspeed_config"}


def ended(config: TrainConfig, code: int, left: dict[str, str] | None = None) -> SenseError:
    """What the supervisor says of a run that ended so."""
    config.out_dir.mkdir(parents=True, exist_ok=True)
    if left is not None:
        (config.out_dir / "error.json").write_text(json.dumps(left))
    run = TrainingProcess(config)
    run.poll = lambda: RunState(RunStatus.FAILED, code)  # type: ignore[method-assign]
    return run.error()


@pytest.mark.parametrize(
    ("code", "error", "retryable", "words"),
    [
        (ExitCode.DATA, "training_data", False, "data"),
        (ExitCode.SETTINGS, "training_settings", False, "settings"),
        (ExitCode.NAN_LOSS, "training_nan_loss", False, "finite"),
        (ExitCode.OUT_OF_MEMORY, "training_out_of_memory", False, "set batch_size 2 and gradient_accumulation 2"),
        (ExitCode.CANCELLED, "training_preempted", True, "last checkpoint"),
        (-signal.SIGTERM, "training_preempted", True, "last checkpoint"),
        (-signal.SIGKILL, "training_killed", True, "gradient_checkpointing"),
        (-signal.SIGSEGV, "training_lost", True, "SIGSEGV"),
        (9, "internal_error", False, "exit code 9"),
    ],
)
def test_every_end_has_its_cause(sft_config: TrainConfig, code: int, error: str, retryable: bool, words: str) -> None:
    found = ended(sft_config, int(code))
    assert (found.code, found.retryable) == (error, retryable)
    assert words in found.message


def test_the_kernels_own_count_proves_memory(sft_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "count_oom_kills", lambda: 1)
    found = ended(sft_config.model_copy(update={"batch_size": 1, "mode": "full"}), -signal.SIGKILL)
    assert (found.code, found.retryable) == ("training_out_of_memory", False)
    assert "batch_size=1" in found.message and "set batch_size" not in found.message
    assert "take method lora" in found.message


def test_a_process_of_a_launch_says_more_than_its_launcher(sft_config: TrainConfig) -> None:
    found = ended(sft_config, 1, {"code": "out_of_memory", "message": "no room"})
    assert (found.code, found.message) == ("training_out_of_memory", "no room")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"quantization": "4bit"}, "needs a GPU"),
        ({"launch": "fsdp", "processes": 2}, "needs GPUs"),
        ({"report_to": "mlflow"}, "pip install mlflow"),
        ({"report_to": "wandb"}, "pip install wandb"),
    ],
)
def test_what_this_machine_lacks_is_said_first(
    sft_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, setting: dict[str, object], words: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("services.training.run.model.find_spec", lambda _: None)
    with pytest.raises(TrainingStop, match=words) as caught:
        check_machine(sft_config.model_copy(update=setting))
    assert caught.value.code is ExitCode.SETTINGS


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "ipo", "label_smoothing": 0.1},
        {"mode": "full", "quantization": "4bit"},
        {"processes": 2},
        {"method": "dpo", "mode": "full", "precompute_reference": False},
    ],
)
def test_settings_that_exclude_each_other(sft_config: TrainConfig, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing|quantised|launch|precompute"):
        TrainConfig.model_validate(sft_config.model_dump() | wrong)
