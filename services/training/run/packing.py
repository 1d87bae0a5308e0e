"""Attention over lines that lie end to end in one row: nothing but attention knows of lines, so nothing is padded."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "lines"
# Plain products beat PyTorch's CPU kernel on short lines (its backward pass is slow); their memory is quadratic.
EAGER_UP_TO = 512


def packs(model: Any) -> bool:
    """Whether the model was told to attend by lines."""
    return bool(model.config.get_text_config()._attn_implementation == NAME)


def attend_by_lines(model: Any) -> None:
    """Has a plain causal transformer take batches of `lay_out(…, packed=True)`, and all others as before."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    lines: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """(1, T, heads, size) for queries (1, heads, T, size) and keys of as many or fewer heads.

    `lines`: (L) lengths, the first of the *root* (or 0), which every other line follows. `attention_mask`:
    (1, 1, T, root + longest line), added to the scores of the root's and the own line's tokens.
    """
    if lines is None or attention_mask is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **more
        )
        return plain
    sizes: list[int] = lines.tolist()
    keys, values = torch.split(key, sizes, 2), torch.split(value, sizes, 2)
    out, start = [], 0
    for index, q in enumerate(torch.split(query, sizes, 2)):
        if not sizes[index]:
            continue
        behind = index > 0 and sizes[0] > 0
        k = torch.cat([keys[0], keys[index]], 2) if behind else keys[index]
        v = torch.cat([values[0], values[index]], 2) if behind else values[index]
        out.append(_attend_line(q, k, v, attention_mask[:, :, start : start + sizes[index], : k.shape[2]], scaling))
        start += sizes[index]
    return torch.cat(out, 2).transpose(1, 2), None


def _attend_line(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """(1, heads, tokens, size); queries of heads that share a key head are laid side by side, so no key is repeated."""
    if k.shape[2] > EAGER_UP_TO:
        return F.scaled_dot_product_attention(q, k, v, mask, scale=scaling, enable_gqa=True)
    heads, tokens, size = q.shape[1:]
    shared = heads // k.shape[1]
    scores = torch.matmul(q.reshape(k.shape[1], shared * tokens, size) * scaling, k[0].transpose(1, 2))
    weights = torch.softmax(scores.view(-1, shared, tokens, k.shape[2]) + mask, -1, dtype=torch.float32).to(v.dtype)
    return torch.matmul(weights.view(-1, shared * tokens, k.shape[2]), v[0]).view(1, heads, tokens, size)
