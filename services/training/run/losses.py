"""Log-probabilities of completion tokens, and the losses over them."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import nn

from services.training.run.batches import Batch

SCALED_HEADS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def token_logps(model: nn.Module, batch: Batch, *, bf16: bool) -> torch.Tensor:
    """(N) log-probability of every completion token, float32.

    The vocabulary is by far the widest layer here, so the head sees only the hidden states that predict a
    completion token. `model` is a causal LM or a PEFT model around one.
    """
    inner = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}
    with torch.autocast(batch["input_ids"].device.type, dtype=torch.bfloat16, enabled=bf16):
        logits = _logits(inner, inputs, batch["sources"])
    picked = logits.gather(1, batch["targets"][:, None]).squeeze(1).float()
    return picked - logits.float().logsumexp(1)


def _logits(inner: nn.Module, inputs: Batch, sources: torch.Tensor) -> torch.Tensor:
    config = inner.config.get_text_config()  # type: ignore[union-attr, operator]
    if any(getattr(config, name, None) is not None for name in SCALED_HEADS):
        return inner(**inputs, use_cache=False).logits.flatten(0, 1)[sources]  # type: ignore[no-any-return]
    hidden = inner.base_model(**inputs, use_cache=False).last_hidden_state  # type: ignore[operator]
    return inner.get_output_embeddings()(hidden.flatten(0, 1)[sources])  # type: ignore[operator, no-any-return]


def sequence_logps(token: torch.Tensor, owners: torch.Tensor, count: int) -> torch.Tensor:
    """(count) sums of token log-probabilities by completion."""
    return token.new_zeros(count).index_add(0, owners, token)


def cdpo_loss(difference: torch.Tensor, beta: float, smoothing: float) -> torch.Tensor:
    """Conservative DPO, one value a pair: the label is taken as wrong with probability `smoothing`.

    `difference` is (policy - reference) of the chosen minus that of the rejected, in nats. With smoothing 0 it is
    DPO's sigmoid loss. Source: the released recipe of the paper names cDPO; TRL's sigmoid loss has no smoothing.
    """
    logits = beta * difference
    return -(1 - smoothing) * F.logsigmoid(logits) - smoothing * F.logsigmoid(-logits)
