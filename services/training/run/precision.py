"""Whether to train in bfloat16 or float32: by the machine, the same each time, and for a whole run the same."""

import json
from pathlib import Path

import torch

from services.training.config import TrainConfig
from services.training.run.checkpoints import newest_sealed
from shared.processes.cpu import favours_bfloat16

NOTE = "precision.json"  # in every checkpoint


def precision_of(config: TrainConfig) -> bool:
    """As `use_bf16`; a run that goes on takes what it began with, as another machine may be better at the other."""
    found = newest_sealed(config.out_dir)
    note = found[0] / NOTE if found else None
    if note is None or not note.exists():
        return use_bf16(config.bf16)
    return bool(json.loads(note.read_text())["bf16"])


def note_precision(checkpoint: Path, bf16: bool) -> None:
    """Leaves the choice beside the weights, before they are sealed."""
    (checkpoint / NOTE).write_text(json.dumps({"bf16": bf16}) + "\n")


def use_bf16(choice: bool | None) -> bool:
    """Whether to compute in bfloat16; without a choice: on a GPU that has it, and on a CPU that is faster in it."""
    if choice is not None:
        return choice
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return favours_bfloat16()
