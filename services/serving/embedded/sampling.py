"""Choosing the next token of each row from its scores."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NUCLEUS = 512  # candidates sorted first; a row whose candidates do not reach top_p is sorted whole


@dataclass
class Sampler:
    """One row's way to choose: greedy where `generator` is None.

    A row owns its generator and draws one number a token, so what else is in the batch never shifts its draws. Scores
    themselves are the same in another batch only as far as the arithmetic allows: in float32 in practice always, in
    bfloat16 a sum in another order can move a close choice.
    """

    temperature: float
    top_p: float
    generator: torch.Generator | None


def make_sampler(temperature: float, top_p: float, seed: int, choice: int) -> Sampler:
    """The sampler of one of a request's n choices; each choice has a stream of its own derived from the seed."""
    if temperature == 0.0:
        return Sampler(temperature, top_p, None)
    digest = hashlib.sha256(f"{seed}/{choice}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return Sampler(temperature, top_p, generator)


def choose(scores: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """One token a row from scores [rows, vocabulary]."""
    scores = scores.float()
    drawn = [row for row, sampler in enumerate(samplers) if sampler.generator is not None]
    chosen: list[int] = [0] * len(samplers)
    if len(drawn) < len(samplers):
        chosen = scores.argmax(-1).tolist()
    if drawn:
        picked = _draw(scores[drawn], [samplers[row] for row in drawn])
        for row, token in zip(drawn, picked, strict=True):
            chosen[row] = token
    return chosen


def _draw(scores: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    temperatures = torch.tensor([sampler.temperature for sampler in samplers])
    chances = torch.softmax(scores / temperatures[:, None], -1)
    draws = torch.stack([torch.rand(1, generator=sampler.generator) for sampler in samplers])
    top_p = torch.tensor([sampler.top_p for sampler in samplers])[:, None]
    if bool((top_p >= 1.0).all()):
        return _invert(chances.cumsum(-1), draws)
    ranked, tokens = chances.topk(min(NUCLEUS, chances.shape[-1]), -1)
    picked = _nucleus(ranked, tokens, top_p, draws)
    flat = torch.nonzero(ranked.sum(-1) < top_p[:, 0])[:, 0]
    if len(flat):
        ranked, tokens = chances[flat].sort(-1, descending=True)
        picked[flat] = _nucleus(ranked, tokens, top_p[flat], draws[flat])
    return [int(token) for token in picked]


def _nucleus(ranked: Tensor, tokens: Tensor, top_p: Tensor, draws: Tensor) -> Tensor:
    """One token a row, [rows], of those whose chances come before `top_p` is reached; `ranked` from the largest on."""
    kept = ranked.masked_fill(ranked.cumsum(-1) - ranked >= top_p, 0.0)
    places = torch.tensor(_invert(kept.cumsum(-1), draws))
    return tokens.gather(1, places[:, None])[:, 0]


def _invert(cumulative: Tensor, draws: Tensor) -> list[int]:
    """The first place whose cumulative chance exceeds the draw's share of the total."""
    places = torch.searchsorted(cumulative, draws.clamp(max=1 - 1e-6) * cumulative[:, -1:], right=True)
    return [int(place) for place in places[:, 0]]
