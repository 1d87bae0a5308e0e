"""Multiplication by weights, in the layout and the type that are fastest on this processor.

Weights are packed once for oneDNN. With 16 rows packed float32 multiplied at 100 GFLOP/s on a Xeon with AVX512-BF16
and no AMX, packed bfloat16 at 70, and plain float32 at 26 to 50 (two threads). There, bfloat16 took 0.4 of float32's
time with one row, as much with 16, and 1.4 times as much with 48.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from shared.processes.cpu import favours_bfloat16

ROWS = 16  # what the packing is for


class Multiply:
    """`x @ weight.T + bias` by the weights of one or several layers side by side."""

    def __init__(self, *layers: Any, dtype: torch.dtype) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)
        biases = [layer.bias.detach() for layer in layers if getattr(layer, "bias", None) is not None]
        self._bias = torch.cat(biases).to(dtype) if len(biases) == len(layers) else None
        self._packed = can_pack()
        self._weight = pack(weight) if self._packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        if not self._packed:
            return linear(x, self._weight, self._bias)
        return by_packed(x, self._weight, self._bias)


def can_pack() -> bool:
    """Whether this build of torch has oneDNN."""
    available: Any = torch.backends.mkldnn.is_available
    return bool(available())


def pack(weight: Tensor) -> Tensor:
    """A weight [out, in] in oneDNN's own layout."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return packed


def by_packed(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` for a packed weight."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def pick_dtype(name: str) -> torch.dtype:
    """`auto` is bfloat16 where the processor is faster in it, else float32: the same at every start."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    return torch.bfloat16 if can_pack() and favours_bfloat16() else torch.float32
