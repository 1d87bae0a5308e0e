"""The prefix cache: shared prefixes of prompts are found by comparing tokens, computed once, kept while in use.

Keys and values of a token depend only on the tokens before it, so any prefix of a cached prefix can be cut out of it
at no cost.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from services.serving.embedded.forward_plan import KVCache, SequenceInput, plan_forward
from services.serving.embedded.llama import Llama
from shared.models.shared_prefixes import (
    MIN_SHARED_FRACTION,
    MIN_SHARED_TOKENS,
    TokenArray,
    common_prefix_length,
    group_by_deepest_prefix,
)

MAX_TOKENS_LOST = 16  # to stay with a prefix that other sequences already use
MIN_TOKENS_SAVED = 96  # by a longer prefix, which costs a pass of its own that reads all weights
PREFILL_CHUNK = 512  # tokens computed at once

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class CachedPrefix:
    """Keys and values [layers, kv heads, tokens, head size] of a prompt's prefix."""

    tokens: Tokens
    array: TokenArray
    k: Tensor
    v: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


class PrefixCache:
    """The prefixes computed for one model; beyond `capacity` tokens, the least recently used go first."""

    def __init__(self, model: Llama, capacity: int, sharing: bool = True) -> None:
        self._model = model
        self._capacity = capacity
        self._sharing = sharing
        self._kept: OrderedDict[Tokens, CachedPrefix] = OrderedDict()

    def assign(self, prompts: Sequence[Tokens], waiting: Sequence[Tokens] = ()) -> list[CachedPrefix]:
        """A prefix for each prompt, at least one token shorter than the prompt (prompts have two or more).

        `waiting`: prompts that come next, so that a prefix they share with these is kept for them.
        """
        lengths = self._lengths(prompts, waiting) if self._sharing else [len(prompt) - 1 for prompt in prompts]
        return [self._get(prompt[:length]) for prompt, length in zip(prompts, lengths, strict=True)]

    def _lengths(self, prompts: Sequence[Tokens], waiting: Sequence[Tokens]) -> list[int]:
        lengths = [0] * len(prompts)
        for members, shared in group_by_deepest_prefix([*prompts, *waiting]):
            for index in members:
                if index < len(prompts):
                    prompt = np.array(prompts[index])
                    known = self._cached_length(prompt[:shared], MIN_SHARED_FRACTION * len(prompt))
                    saved = (len(members) - 1) * (shared - known)
                    lengths[index] = known if known and saved < MIN_TOKENS_SAVED else shared
        return lengths

    def _cached_length(self, wanted: TokenArray, least: float) -> int:
        """How many tokens of `wanted` are cached, or 0 if these are too few."""
        overlaps = [(common_prefix_length(prefix.array, wanted), len(prefix)) for prefix in self._kept.values()]
        longest = max((overlap for overlap, _ in overlaps), default=0)
        if longest < max(MIN_SHARED_TOKENS, least):
            return 0
        whole = [overlap for overlap, length in overlaps if overlap == length and overlap >= longest - MAX_TOKENS_LOST]
        return min(whole, default=longest)

    def _get(self, tokens: Tokens) -> CachedPrefix:
        found = self._kept.get(tokens)
        if found is None:
            found = self._cut(tokens) or self._compute(tokens)
            self._kept[tokens] = found
            self._drop_old()
        else:
            self._kept.move_to_end(tokens)
        return found

    def _cut(self, tokens: Tokens) -> CachedPrefix | None:
        for prefix in reversed(self._kept.values()):
            if prefix.tokens[: len(tokens)] == tokens:
                # copies, or the short prefix would keep the whole of the long one in memory
                k, v = prefix.k[:, :, : len(tokens)].clone(), prefix.v[:, :, : len(tokens)].clone()
                return CachedPrefix(tokens, np.array(tokens), k, v)
        return None

    def _compute(self, tokens: Tokens) -> CachedPrefix:
        array, kv_cache = np.array(tokens), self._model.new_kv_cache()
        kv_cache.reserve(1, len(tokens))
        for start in range(self._copy_overlap(kv_cache, array), len(tokens), PREFILL_CHUNK):
            chunk = SequenceInput(tokens[start : start + PREFILL_CHUNK], start)
            self._model.forward(plan_forward(kv_cache, 0, [[chunk]], self._model.group), scores=False)
        length = len(tokens)
        return CachedPrefix(tokens, array, kv_cache.k[:, 0, :, :length].clone(), kv_cache.v[:, 0, :, :length].clone())

    def _copy_overlap(self, kv_cache: KVCache, wanted: TokenArray) -> int:
        """Copies the longest overlap of a cached prefix with `wanted` into slot 0 and returns its length."""
        overlaps = [(common_prefix_length(prefix.array, wanted), prefix) for prefix in self._kept.values()]
        size, prefix = max(overlaps, key=lambda one: one[0], default=(0, None))
        if prefix is None or size < MAX_TOKENS_LOST:
            return 0
        kv_cache.put(0, prefix.k[:, :, :size], prefix.v[:, :, :size])
        return size

    def _drop_old(self) -> None:
        total = sum(len(prefix) for prefix in self._kept.values())
        while total > self._capacity and self._kept:
            _, old = self._kept.popitem(last=False)
            total -= len(old)


class ActivePrefixes:
    """The prefixes that the sequences of a batch use now, side by side in one KV cache."""

    def __init__(self, model: Llama) -> None:
        self.kv_cache: KVCache = model.new_kv_cache()
        self._held: list[CachedPrefix] = []

    def slots(self, prefixes: Sequence[CachedPrefix]) -> list[int]:
        """The slot of each prefix. Drops prefixes that are no longer in use and copies new ones in."""
        wanted = {prefix.tokens: prefix for prefix in prefixes}
        for slot in reversed(range(len(self._held))):
            if self._held[slot].tokens not in wanted:
                self._remove(slot)
        place = {prefix.tokens: slot for slot, prefix in enumerate(self._held)}
        for tokens, prefix in wanted.items():
            if tokens not in place:
                place[tokens] = len(self._held)
                self.kv_cache.put(len(self._held), prefix.k, prefix.v)
                self._held.append(prefix)
        return [place[prefix.tokens] for prefix in prefixes]

    def _remove(self, slot: int) -> None:
        last = self._held.pop()
        if slot < len(self._held):
            self.kv_cache.copy_slot(len(self._held), slot, len(last))
            self._held[slot] = last
