"""Whether bfloat16 is faster here than float32: measured, because what a processor lists says too little.

One Xeon with AVX512-BF16 and without AMX multiplied 0.6 times as fast in bfloat16, and an SFT step took 3.2 s instead
of 2.0; on an EPYC with the same flag bfloat16 was the faster one (docs/decisions/0018).
"""

import time

import torch

ROWS, WIDTH, INNER = 512, 576, 1536  # a small model's feed-forward layer, a small batch
TURNS = 6
CLEARLY = 0.87  # of float32's time; nearer ones count as equal, and float32 is exact


def use_bf16(choice: str) -> bool:
    """Whether to compute in bfloat16; `auto` asks a GPU for what it can, and a CPU for its time."""
    if choice != "auto":
        return choice == "on"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    return multiply_s(torch.bfloat16) < CLEARLY * multiply_s(torch.float32)


def multiply_s(dtype: torch.dtype) -> float:
    """Seconds of one multiplication, the best of several: what else the machine does only adds."""
    rows, weights = torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(INNER, WIDTH, dtype=dtype)
    best = float("inf")
    for _ in range(TURNS):
        began = time.perf_counter()
        torch.nn.functional.linear(rows, weights)
        best = min(best, time.perf_counter() - began)
    return best
