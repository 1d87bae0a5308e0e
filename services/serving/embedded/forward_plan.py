"""The geometry of one forward pass: which tokens go where, what each may look at.

A row's context is a *prefix* (shared with other rows, read once for all of them) followed by a *suffix* of its own.
Attention is computed over both apart and joined by their log-sum-exp, so a database schema that 48 questions share
is read from memory once a step and not 48 times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

KEY_LENGTH_STEP = 16  # key lengths are rounded up, so that few distinct shapes occur
MIN_GROWTH = 64  # tokens a block grows by at least: each growth copies it; what is not used yet takes no memory


class KVCache:
    """Keys and values of up to `slots` sequences: two tensors [layers, slots, kv heads, capacity, head size].

    Both dimensions grow on demand by copying; slots 0..n-1 are in use, and a freed slot is filled by moving the last.
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> None:
        self._frame = (layers, kv_heads, head_dim)
        self.k = torch.zeros(layers, 0, kv_heads, 0, head_dim, dtype=dtype)
        self.v = torch.zeros_like(self.k)

    def reserve(self, slots: int, length: int) -> None:
        have_slots, have_length = self.k.shape[1], self.k.shape[3]
        if slots <= have_slots and length <= have_length:
            return
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
        """Copy keys and values [layers, kv heads, length, head size] into a slot."""
        self.reserve(slot + 1, k.shape[2])
        self.k[:, slot, :, : k.shape[2]] = k
        self.v[:, slot, :, : v.shape[2]] = v


@dataclass(frozen=True)
class PrefixAttention:
    """One attention call over prefix slots `first..first+count-1`.

    `take` [count * width] are the rows whose queries are laid out group by group (padded with row 0);
    `back` [rows of this call] finds each row's answer again; `rows` are those rows, None for all in order.
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
    """Rows in slots `first..first+rows-1` whose attention is one call; `packed` are their tokens among the pass's.

    Each has `queries` places (fewer tokens are padded by `pad` and picked again by `unpad`) and `key_length` keys of
    its own; `prefix_calls` add what it sees of its prefix.
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
    """One forward pass over packed tokens [N]: every token's slot in `block` and its place there, and the parts."""

    tokens: Tensor
    positions: Tensor
    block: KVCache
    slot_of: Tensor
    index_in_suffix: Tensor
    last: Tensor
    parts: list[AttentionPart]
    prefix_block: KVCache | None = None


@dataclass(frozen=True)
class SequenceInput:
    """What a pass does for one row: `tokens` at `start` of its suffix, after `prefix` tokens that lie in slot
    `prefix_slot` of the prefix block."""

    tokens: Sequence[int]
    start: int = 0
    prefix: int = 0
    prefix_slot: int = 0


def _round_up(length: int) -> int:
    return -(-length // KEY_LENGTH_STEP) * KEY_LENGTH_STEP


def plan_forward(
    block: KVCache,
    first: int,
    portions: Sequence[Sequence[SequenceInput]],
    group: int,
    prefix_block: KVCache | None = None,
) -> ForwardPlan:
    """Plan a pass for rows in slots from `first` on, in order, each portion of them a part with its own attention.

    So rows that write one token are not padded to those that begin. `group` is query heads per key head: queries of one
    group are laid side by side, so keys are never repeated.
    """
    asks = [ask for portion in portions for ask in portion]
    count_of = torch.tensor([len(ask.tokens) for ask in asks])
    block.reserve(first + len(asks), _round_up(max(ask.start + len(ask.tokens) for ask in asks)))
    row_of = torch.repeat_interleave(torch.arange(len(asks)), count_of)
    index = torch.cat([torch.arange(ask.start, ask.start + len(ask.tokens)) for ask in asks])
    parts: list[AttentionPart] = []
    slot = packed = 0
    for portion in portions:
        parts.append(_plan_part(portion, first + slot, packed, group, block.k.dtype, prefix_block is not None))
        slot, packed = slot + len(portion), parts[-1].packed.stop
    return ForwardPlan(
        tokens=torch.tensor([token for ask in asks for token in ask.tokens]),
        positions=torch.tensor([ask.prefix for ask in asks])[row_of] + index,
        block=block,
        slot_of=row_of + first,
        index_in_suffix=index,
        last=torch.cumsum(count_of, 0) - 1,
        parts=parts,
        prefix_block=prefix_block,
    )


def _plan_part(
    asks: Sequence[SequenceInput], first: int, packed: int, group: int, dtype: torch.dtype, has_prefixes: bool
) -> AttentionPart:
    counts = [len(ask.tokens) for ask in asks]
    queries = max(counts)
    key_length = _round_up(max(ask.start + len(ask.tokens) for ask in asks))
    steps = torch.arange(queries)
    pad = unpad = None
    if min(counts) != queries:
        count_of = torch.tensor(counts)
        pad = torch.cumsum(count_of, 0) - count_of
        pad = (pad[:, None] + torch.minimum(steps, count_of[:, None] - 1)).flatten()
        unpad = torch.cat([place * queries + torch.arange(count) for place, count in enumerate(counts)])
    slots, lengths = [ask.prefix_slot for ask in asks], [ask.prefix for ask in asks]
    return AttentionPart(
        packed=slice(packed, packed + sum(counts)),
        first=first,
        rows=len(asks),
        queries=queries,
        key_length=key_length,
        mask=_causal_mask(torch.tensor([ask.start for ask in asks]), steps, key_length, group, dtype),
        pad=pad,
        unpad=unpad,
        prefix_calls=plan_prefix_attention(slots, lengths, dtype) if has_prefixes else [],
    )


def _causal_mask(start_of: Tensor, steps: Tensor, key_length: int, group: int, dtype: torch.dtype) -> Tensor:
    """Additive mask [rows, 1, queries * group, keys]: a token sees the suffix up to itself."""
    limit = start_of[:, None] + steps
    hidden = torch.arange(key_length) > limit[:, :, None]
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
    return mask.repeat_interleave(group, dim=1).unsqueeze(1)


def plan_prefix_attention(slots: Sequence[int], lengths: Sequence[int], dtype: torch.dtype) -> list[PrefixAttention]:
    """Calls for rows that use prefix slot `slots[i]` of `lengths[i]` tokens.

    All groups go in one padded call where padding costs little, else each group gets its own.
    """
    groups: dict[int, list[int]] = {}
    for row, slot in enumerate(slots):
        groups.setdefault(slot, []).append(row)
    width = max(len(members) for members in groups.values())
    low, high = min(groups), max(groups)
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
