"""The geometry of one forward pass: which tokens go where, what each may look at.

A row's context is a *prefix* (shared with other rows, read once for all of them) followed by a *suffix* of its own.
Attention is computed over both apart and joined by their log-sum-exp, so a database schema that 48 questions share
is read from memory once a step and not 48 times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

ROUNDING = 16  # key lengths are rounded up, so that few distinct shapes occur


class Block:
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
        slots = max(slots, have_slots)
        length = have_length if length <= have_length else max(_round_up(length), 2 * have_length)
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
class PrefixCall:
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
class Pass:
    """One forward pass over packed tokens [N] of rows in slots `first..first+rows-1` of `block`."""

    tokens: Tensor
    positions: Tensor
    block: Block
    first: int
    rows: int
    slot_of: Tensor
    index_in_suffix: Tensor
    queries: int
    key_length: int
    mask: Tensor | None
    pad: Tensor | None
    unpad: Tensor | None
    prefix_block: Block | None = None
    prefix_calls: list[PrefixCall] = field(default_factory=list)

    @property
    def last(self) -> Tensor:
        """For each row, the index of its last token among the packed ones."""
        return torch.nonzero(torch.diff(self.slot_of, append=self.slot_of.new_full((1,), -1)))[:, 0]


def _round_up(length: int) -> int:
    return -(-length // ROUNDING) * ROUNDING


def plan_pass(
    block: Block,
    first: int,
    tokens: Sequence[Sequence[int]],
    starts: Sequence[int],
    prefixes: Sequence[int],
    group: int,
) -> Pass:
    """Plan a pass of `tokens[i]` for row `first + i`, which has `starts[i]` suffix tokens, `prefixes[i]` before them.

    `group` is query heads per key head: queries of one group are laid side by side, so keys are never repeated.
    """
    counts = [len(row) for row in tokens]
    rows, queries = len(tokens), max(counts)
    key_length = _round_up(max(start + count for start, count in zip(starts, counts, strict=True)))
    block.reserve(first + rows, key_length)
    count_of = torch.tensor(counts)
    row_of = torch.repeat_interleave(torch.arange(rows), count_of)
    within = torch.cat([torch.arange(count) for count in counts])
    start_of = torch.tensor(starts)
    index = start_of[row_of] + within
    uneven = any(count != queries for count in counts)
    steps = torch.arange(queries)
    pad = torch.cumsum(count_of, 0) - count_of
    pad = (pad[:, None] + torch.minimum(steps, count_of[:, None] - 1)).flatten()
    return Pass(
        tokens=torch.tensor([token for row in tokens for token in row]),
        positions=torch.tensor(prefixes)[row_of] + index,
        block=block,
        first=first,
        rows=rows,
        slot_of=row_of + first,
        index_in_suffix=index,
        queries=queries,
        key_length=key_length,
        mask=_causal_mask(start_of, steps, key_length, group, block.k.dtype),
        pad=pad if uneven else None,
        unpad=row_of * queries + within if uneven else None,
    )


def _causal_mask(start_of: Tensor, steps: Tensor, key_length: int, group: int, dtype: torch.dtype) -> Tensor:
    """Additive mask [rows, 1, queries * group, keys]: a token sees the suffix up to itself."""
    limit = start_of[:, None] + steps
    hidden = torch.arange(key_length) > limit[:, :, None]
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
    return mask.repeat_interleave(group, dim=1).unsqueeze(1)


def plan_prefixes(slots: Sequence[int], lengths: Sequence[int], dtype: torch.dtype) -> list[PrefixCall]:
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


def _single_call(slot: int, members: list[int], length: int) -> PrefixCall:
    take = torch.tensor(members)
    return PrefixCall(slot, 1, len(members), length, take, torch.arange(len(members)), take, None)


def _padded_call(
    groups: dict[int, list[int]], low: int, high: int, width: int, lengths: Sequence[int], dtype: torch.dtype
) -> PrefixCall:
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
    return PrefixCall(low, high - low + 1, width, longest, take.flatten(), back, None, mask)
