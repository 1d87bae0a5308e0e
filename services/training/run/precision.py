"""Whether bfloat16 is faster here than float32: measured, because what a processor lists says too little.

One Xeon with AVX512-BF16 and without AMX multiplied 0.6 times as fast in bfloat16, and an SFT step took 3.2 s instead
of 2.0; on an EPYC with the same flag bfloat16 was the faster one (docs/decisions/0018).
"""

import json
import os
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import linear

from services.training.config import TrainConfig
from services.training.run.checkpoints import newest_sealed
from shared.timing import clearly_faster

ROWS, WIDTH, INNER = 512, 576, 1536  # a small model's feed-forward layer, a small batch
NOTE = "precision.json"  # in every checkpoint


def precision_of(config: TrainConfig) -> bool:
    """As `use_bf16`; a run that goes on takes what it began with, as another machine or hour may measure otherwise."""
    found = newest_sealed(config.out_dir)
    note = found[0] / NOTE if found else None
    if note is None or not note.exists():
        return use_bf16(config.bf16)
    return bool(json.loads(note.read_text())["bf16"])


def note_precision(checkpoint: Path, bf16: bool) -> None:
    """Leaves the choice beside the weights, before they are sealed."""
    (checkpoint / NOTE).write_text(json.dumps({"bf16": bf16}) + "\n")


def use_bf16(choice: str) -> bool:
    """Whether to compute in bfloat16; `auto` asks a GPU for what it can, and a CPU for its time (float32 is exact)."""
    if choice != "auto":
        return choice == "on"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return False  # each process would measure for itself, and they must agree
    return clearly_faster(multiplication(torch.bfloat16), multiplication(torch.float32))


def multiplication(dtype: torch.dtype) -> "partial[torch.Tensor]":
    """One layer of one batch in that type."""
    return partial(linear, torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(INNER, WIDTH, dtype=dtype))
