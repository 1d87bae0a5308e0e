"""The command line of a training run: one Python process, or one a GPU of this machine."""

import sys
from pathlib import Path

from services.training.config import TrainConfig

MODULE = "services.training.run"
ACCELERATE = Path(__file__).parent / "presets" / "accelerate"


def launch_command(config: TrainConfig, config_file: Path) -> list[str]:
    """What the supervisor starts. Every process of a launch reads the same `config_file`.

    `ddp` needs nothing but PyTorch's own launcher (and works on CPUs); `fsdp` and `zero3` are set up by accelerate.
    """
    python, run = [sys.executable, "-m"], ["-m", MODULE, str(config_file)]
    if config.launch == "single":
        return [*python, MODULE, str(config_file)]
    if config.launch == "ddp":
        return [*python, "torch.distributed.run", "--standalone", "--nproc_per_node", str(config.processes), *run]
    words = ["accelerate.commands.launch", "--config_file", str(ACCELERATE / f"{config.launch}.yaml")]
    words += ["--num_machines", "1", "--num_processes", str(config.processes), "--main_process_port", "0"]
    return [*python, *words, *run]
