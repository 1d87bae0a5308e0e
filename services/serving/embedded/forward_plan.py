"""The KV cache, and the plan of one forward pass over it: where each token goes and what it attends to.

A sequence's context is a *prefix*, shared with other sequences and read once for all of them, and a *suffix* of its
own. Attention is computed over both separately and joined by their log-sum-exp, so a database schema that 48 questions
share is read from memory once per step and not 48 times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

KEY_LENGTH_STEP = 16  # key lengths are rounded up to it, so that few distinct shapes occur
MIN_GROWTH = 64  # tokens: each growth copies the cache, and what is not used yet takes no memory


class KVCache:
    """Keys and values: two tensors [layers, slots, kv heads, capacity, head size], a slot per sequence.

    Slots and capacity grow on demand by copying. Slots 0..n-1 are in use; a freed slot is filled with the last one.
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> None:
        self._frame = (layers, kv_heads, head_dim)
        self.k = torch.zeros(layers, 0, kv_heads, 0, head_dim, dtype=dtype)
        self.v = torch.zeros_like(self.k)

    def reserve(self, slots: int, length: int) -> None:
        have_slots, have_length = self.k.shape[1], self.k.shape[3]
        if slots <= have_slots and length <= have_length:
            return
        # grows by half: slot by slot, it copied itself for each choice of a request (docs/decisions/0019)
        if slots > have_slots:
            slots = max(slots, have_slots + have_slots // 2)
        slots = max(slots, have_slots)
        if length > have_length:
            length = max(_round_up(length), have_length + max(MIN_GROWTH, have_length // 2))
        length = max(length, have_length)
        self.k = self._grown(self.k, slots, length)
        self.v = self._grown(self.v, slots, length)

    def _grown(self, old: Tensor, slots: int, length: int) -> Tensor:
        layers, kv_heads, head_dim = self._frame
        new = torch.zeros(layers, slots, kv_heads, length, head_dim, dtype=old.dtype)
        new[:, : old.shape[1], :, : old.shape[3]] = old
        return new

    def copy_slot(self, source: int, target: int, length: int) -> None:
        self.k[:, target, :, :length] = self.k[:, source, :, :length]
        self.v[:, target, :, :length] = self.v[:, source, :, :length]

    def put(self, slot: int, k: Tensor, v: Tensor) -> None:
        self.reserve(slot + 1, k.shape[2])
        self.k[:, slot, :, : k.shape[2]] = k
        self.v[:, slot, :, : v.shape[2]] = v


@dataclass(frozen=True)
class PrefixAttention:
    """One attention call over prefix slots `first..first+count-1`.

    `take` [count * width]: the rows whose queries are laid out group by group (padded with row 0). `back` [rows of
    this call]: where each row's result is found. `rows`: these rows, None for all in order.
    """

    first: int
    count: int
    width: int
    length: int
    take: Tensor
    back: Tensor
    rows: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True)
class AttentionPart:
    """Sequences in slots `first..first+rows-1` whose attention is one call; `packed` are their tokens in the pass.

    Each has `queries` places (fewer tokens are padded by `pad` and picked out again by `unpad`) and `key_length` keys
    of its own. `prefix_calls` add the attention to its prefix.
    """

    packed: slice
    first: int
    rows: int
    queries: int
    key_length: int
    mask: Tensor | None
    pad: Tensor | None
    unpad: Tensor | None
    prefix_calls: list[PrefixAttention]


@dataclass(frozen=True)
class ForwardPlan:
    """One forward pass over packed tokens [N], with each token's slot and index in `kv_cache`."""

    tokens: Tensor
    positions: Tensor
    kv_cache: KVCache
    slot_of: Tensor
    index_in_suffix: Tensor
    last: Tensor
    parts: list[AttentionPart]
    prefix_kv_cache: KVCache | None = None


@dataclass(frozen=True)
class SequenceInput:
    """The input of one sequence: `tokens` at `start` of its suffix, after `prefix` tokens in the slot `prefix_slot`."""

    tokens: Sequence[int]
    start: int = 0
    prefix: int = 0
    prefix_slot: int = 0


def _round_up(length: int) -> int:
    return -(-length // KEY_LENGTH_STEP) * KEY_LENGTH_STEP


def plan_forward(
    kv_cache: KVCache,
    first: int,
    portions: Sequence[Sequence[SequenceInput]],
    group: int,
    prefix_kv_cache: KVCache | None = None,
) -> ForwardPlan:
    """Plans a pass for sequences in slots from `first` on, in order; each portion has an attention call of its own.

    This keeps sequences that write one token from being padded to the length of a prefill. `group` is the number of
    query heads per key head: their queries stand side by side, so that keys are never repeated.
    """
    inputs = [one for portion in portions for one in portion]
    count_of = torch.tensor([len(one.tokens) for one in inputs])
    kv_cache.reserve(first + len(inputs), _round_up(max(one.start + len(one.tokens) for one in inputs)))
    row_of = torch.repeat_interleave(torch.arange(len(inputs)), count_of)
    index = torch.cat([torch.arange(one.start, one.start + len(one.tokens)) for one in inputs])
    parts: list[AttentionPart] = []
    slot = packed = 0
    for portion in portions:
        parts.append(_plan_part(portion, first + slot, packed, group, kv_cache.k.dtype, prefix_kv_cache is not None))
        slot, packed = slot + len(portion), parts[-1].packed.stop
    return ForwardPlan(
        tokens=torch.tensor([token for one in inputs for token in one.tokens]),
        positions=torch.tensor([one.prefix for one in inputs])[row_of] + index,
        kv_cache=kv_cache,
        slot_of=row_of + first,
        index_in_suffix=index,
        last=torch.cumsum(count_of, 0) - 1,
        parts=parts,
        prefix_kv_cache=prefix_kv_cache,
    )


def _plan_part(
    inputs: Sequence[SequenceInput], first: int, packed: int, group: int, dtype: torch.dtype, has_prefixes: bool
) -> AttentionPart:
    counts = [len(one.tokens) for one in inputs]
    queries = max(counts)
    key_length = _round_up(max(one.start + len(one.tokens) for one in inputs))
    steps = torch.arange(queries)
    pad = unpad = None
    if min(counts) != queries:
        count_of = torch.tensor(counts)
        pad = torch.cumsum(count_of, 0) - count_of
        # short sequences repeat their last token; `unpad` leaves the repetitions out
        pad = (pad[:, None] + torch.minimum(steps, count_of[:, None] - 1)).flatten()
        unpad = torch.cat([place * queries + torch.arange(count) for place, count in enumerate(counts)])
    slots, lengths = [one.prefix_slot for one in inputs], [one.prefix for one in inputs]
    return AttentionPart(
        packed=slice(packed, packed + sum(counts)),
        first=first,
        rows=len(inputs),
        queries=queries,
        key_length=key_length,
        mask=_causal_mask(torch.tensor([one.start for one in inputs]), steps, key_length, group, dtype),
        pad=pad,
        unpad=unpad,
        prefix_calls=plan_prefix_attention(slots, lengths, dtype) if has_prefixes else [],
    )


def _causal_mask(start_of: Tensor, steps: Tensor, key_length: int, group: int, dtype: torch.dtype) -> Tensor:
    """Additive mask [rows, 1, queries * group, keys]: each token sees the suffix up to itself."""
    limit = start_of[:, None] + steps
    hidden = torch.arange(key_length) > limit[:, :, None]
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
    return mask.repeat_interleave(group, dim=1).unsqueeze(1)


def plan_prefix_attention(slots: Sequence[int], lengths: Sequence[int], dtype: torch.dtype) -> list[PrefixAttention]:
    """Attention calls for rows of which row i uses prefix slot `slots[i]` with `lengths[i]` tokens.

    All groups go into one padded call if padding costs little, else each group gets its own.
    """
    groups: dict[int, list[int]] = {}
    for row, slot in enumerate(slots):
        groups.setdefault(slot, []).append(row)
    width = max(len(members) for members in groups.values())
    low, high = min(groups), max(groups)
    # up to three times the queries are computed to save calls
    if (high - low + 1) * width <= 3 * len(slots):
        return [_padded_call(groups, low, high, width, lengths, dtype)]
    return [_single_call(slot, members, lengths[members[0]]) for slot, members in sorted(groups.items())]


def _single_call(slot: int, members: list[int], length: int) -> PrefixAttention:
    take = torch.tensor(members)
    return PrefixAttention(slot, 1, len(members), length, take, torch.arange(len(members)), take, None)


def _padded_call(
    groups: dict[int, list[int]], low: int, high: int, width: int, lengths: Sequence[int], dtype: torch.dtype
) -> PrefixAttention:
    take = torch.zeros(high - low + 1, width, dtype=torch.long)
    back = torch.zeros(len(lengths), dtype=torch.long)
    sizes = torch.ones(high - low + 1, dtype=torch.long)
    for slot, members in groups.items():
        row = slot - low
        take[row, : len(members)] = torch.tensor(members)
        back[members] = row * width + torch.arange(len(members))
        sizes[row] = lengths[members[0]]
    longest = int(sizes.max())
    mask = None
    if bool((sizes != longest).any()):
        hidden = torch.arange(longest) >= sizes[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))[:, None, None]
    return PrefixAttention(low, high - low + 1, width, longest, take.flatten(), back, None, mask)
