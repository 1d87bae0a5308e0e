"""PEFT's LoRA layers with fewer passes over their wide outputs: the scale goes on the narrow product, sums in place."""

from typing import Any

import torch
from torch import Tensor, nn


def lighten(policy: nn.Module) -> None:
    """Plain linear layers with one adapter and no dropout compute W x + B (s A x) in three multiplications.

    PEFT scales and adds the wide product in two passes more, forwards and backwards; the numbers are the same.
    """
    from peft.tuners.lora.layer import Linear

    for module in policy.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear:
            vars(module)["forward"] = _light(module, module.forward)


def _light(layer: Any, whole: Any) -> Any:
    def forward(x: Tensor, *args: Any, **more: Any) -> Tensor:
        active = layer.active_adapters
        plain = not (args or more or layer.disable_adapters or layer.merged) and len(active) == 1
        if not plain or layer.use_dora.get(active[0]) or not isinstance(layer.lora_dropout[active[0]], nn.Identity):
            result: Tensor = whole(x, *args, **more)
            return result
        wide: Tensor = layer.base_layer(x)
        narrow = layer.lora_A[active[0]](x) * layer.scaling[active[0]]
        widened = layer.lora_B[active[0]].weight.t()
        return torch.addmm(wide.flatten(0, -2), narrow.flatten(0, -2), widened).view(wide.shape)

    return forward
