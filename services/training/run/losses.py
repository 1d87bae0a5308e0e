"""Log-probabilities of completion tokens, and the losses that are computed from them."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_outputs import CausalLMOutput

from services.training.run.collator import Batch

TRANSFORMER_INPUTS = ("input_ids", "position_ids", "attention_mask", "segment_lengths")
SCALED_HEADS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def token_logps(model: nn.Module, batch: Batch, *, bf16: bool) -> torch.Tensor:
    """(N) log-probability of every completion token, float32.

    The vocabulary is by far the widest layer, so the head gets only the hidden states that predict a completion
    token. `model` is a causal LM, a PEFT model around one, or either in a wrapper for several processes.
    """
    accept_sources(causal_lm(model))
    inputs = {name: batch[name] for name in (*TRANSFORMER_INPUTS, "sources") if name in batch}
    with torch.autocast(batch["input_ids"].device.type, dtype=torch.bfloat16, enabled=bf16):
        logits: torch.Tensor = model(**inputs, use_cache=False).logits
    picked = logits.gather(1, batch["targets"][:, None]).squeeze(1).float()
    return picked - logits.float().logsumexp(1)


def causal_lm(model: nn.Module) -> nn.Module:
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    return inner.get_base_model() if hasattr(inner, "peft_config") else inner  # type: ignore[no-any-return]


def accept_sources(inner: Any) -> None:
    """Makes `forward` accept `sources`, (N) flat positions, and return only their logits, (N, vocabulary).

    This is done inside `forward` because wrappers for several processes see only their own call.
    """
    # already patched: a second wrapper would call the first
    if "forward" in vars(inner) and hasattr(inner.forward, "whole"):
        return
    whole = inner.forward
    config = inner.config.get_text_config()
    scaled = any(getattr(config, name, None) is not None for name in SCALED_HEADS)

    def forward(*args: Any, sources: torch.Tensor | None = None, **inputs: Any) -> Any:
        if sources is None:
            return whole(*args, **inputs)
        # these models change the logits after the head, inside `forward`, so the head alone would give other numbers
        if scaled:
            return CausalLMOutput(logits=whole(*args, **inputs).logits.flatten(0, 1)[sources])
        given = {name: inputs[name] for name in (*TRANSFORMER_INPUTS, "use_cache") if name in inputs}
        hidden = inner.base_model(*args, **given).last_hidden_state
        return CausalLMOutput(logits=inner.get_output_embeddings()(hidden.flatten(0, 1)[sources]))

    forward.whole = whole  # type: ignore[attr-defined]
    inner.forward = forward


def sequence_logps(token: torch.Tensor, owners: torch.Tensor, count: int) -> torch.Tensor:
    return token.new_zeros(count).index_add(0, owners, token)


def cdpo_loss(difference: torch.Tensor, beta: float, smoothing: float) -> torch.Tensor:
    """Conservative DPO, one value per pair: the label is assumed wrong with probability `smoothing`.

    `difference` is (policy - reference) of the chosen minus that of the rejected, in nats. With smoothing 0 this is
    DPO's sigmoid loss. The released recipe of the paper names cDPO; TRL's sigmoid loss has no smoothing.
    """
    logits = beta * difference
    return -(1 - smoothing) * F.logsigmoid(logits) - smoothing * F.logsigmoid(-logits)


def ipo_loss(difference: torch.Tensor, beta: float) -> torch.Tensor:
    """IPO, one value per pair (Azar et al. 2023, equation 17, with beta for its tau).

    `difference` is as for `cdpo_loss`, but of means over tokens: the form that its authors confirmed to TRL.
    """
    return (difference - 1 / (2 * beta)) ** 2


def preference_loss(
    gained: torch.Tensor, counts: torch.Tensor, *, loss: str, beta: float, smoothing: float
) -> torch.Tensor:
    """One value per pair. `gained` (2 * B): policy minus reference, chosen and rejected in turn; `counts`: tokens."""
    if loss == "ipo":
        means = gained / counts
        return ipo_loss(means[0::2] - means[1::2], beta)
    return cdpo_loss(gained[0::2] - gained[1::2], beta, smoothing)


def chosen_nll(sums: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """RPO's SFT term, one value per pair: the mean negative log-likelihood of the chosen answer's tokens.

    A mean per pair, not over the tokens of the batch, so that accumulated batches equal one large batch.
    """
    return -(sums / counts)[0::2]
