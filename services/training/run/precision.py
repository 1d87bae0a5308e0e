"""Whether bfloat16 is faster here than float32: measured, because what a processor lists says too little.

One Xeon with AVX512-BF16 and without AMX multiplied 0.6 times as fast in bfloat16, and an SFT step took 3.2 s instead
of 2.0; on an EPYC with the same flag bfloat16 was the faster one (docs/decisions/0018).
"""

from functools import partial

import torch
from torch.nn.functional import linear

from shared.timing import clearly_faster

ROWS, WIDTH, INNER = 512, 576, 1536  # a small model's feed-forward layer, a small batch


def use_bf16(choice: str) -> bool:
    """Whether to compute in bfloat16; `auto` asks a GPU for what it can, and a CPU for its time (float32 is exact)."""
    if choice != "auto":
        return choice == "on"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    return clearly_faster(multiplication(torch.bfloat16), multiplication(torch.float32))


def multiplication(dtype: torch.dtype) -> "partial[torch.Tensor]":
    """One layer of one batch in that type."""
    return partial(linear, torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(INNER, WIDTH, dtype=dtype))
