"""From encoded rows to tensors: what is laid out once is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from services.training.run.data import EncodedRow
from shared.models.shared_prefixes import common_prefix_length, group_by_prefix

Batch = dict[str, torch.Tensor]
SHARED = 0  # the branch or twig of tokens that those after them all see
PADDING = -1  # of padding
MIN_ROOT_TOKENS = 8  # tokens of a beginning common to all prompts of a batch that are worth a line of their own


@dataclass
class Segment:
    """One row of the tensors: a beginning that all see, branches (prompts' ends), on each its twigs (completions)."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    twig: list[int] = field(default_factory=list)

    def add(self, tokens: Sequence[int], position: int, branch: int, twig: int) -> int:
        """Tokens at positions from `position` on; where the last of them lies."""
        self.ids += tokens
        self.positions += range(position, position + len(tokens))
        self.branch += [branch] * len(tokens)
        self.twig += [twig] * len(tokens)
        return len(self.ids) - 1

    @property
    def forks(self) -> bool:
        """Whether some token must not see one before it."""
        return len(set(self.branch) - {SHARED}) > 1 or len(set(self.twig) - {SHARED}) > 1


@dataclass
class Targets:
    """What is to be predicted: tokens, the (line, place) before each, the completion that each belongs to."""

    targets: list[int] = field(default_factory=list)
    sources: list[tuple[int, int]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def add(self, completion: Sequence[int], line: int, before: int, end: int, owner: int) -> None:
        """A completion whose tokens lie right before `end`, the first one predicted at `before`."""
        self.targets += completion
        self.sources += [(line, place) for place in (before, *range(end - len(completion), end - 1))]
        self.owners += [owner] * len(completion)


def collate_rows(
    rows: Sequence[EncodedRow],
    pad_id: int,
    *,
    share_prompt: bool,
    mask_dtype: torch.dtype,
    group_prompts: bool = False,
    packed: bool = False,
) -> Batch:
    """Tensors for `rows`, padded on the right.

    `input_ids`, `position_ids`: (B, T). `targets`: (N), every completion token of the batch. `sources`: (N), the
    flat index (into B*T) of the hidden state that predicts it. `owners`: (N), its completion's index, counted row
    by row in the order given. `tokens`: (1), those of all rows, each with its prompt once, without padding.

    With `share_prompt` a row's completions follow one copy of its prompt, and with `group_prompts` rows whose prompts have a
    common beginning follow one copy of it: each at the positions that it would have alone, and blind to the others.
    That gives the same numbers as sequences of their own, for fewer tokens. With `packed` (for models that attend by
    lines) group_prompts share in any case, B is 1, nothing is padded, and what all prompts begin with is there once.
    """
    if not share_prompt:
        rows = [EncodedRow(row.prompt, [completion]) for row in rows for completion in row.completions]
    first = [sum(len(row.completions) for row in rows[:index]) for index in range(len(rows))]
    families = [([index], 0) for index in range(len(rows))]
    if share_prompt and (group_prompts or packed):
        families = group_by_prefix([row.prompt for row in rows])
    root = _common_root(rows) if packed and len(families) > 1 else 0
    lines = [Segment()] if packed else []
    if root:
        lines[0].add(rows[0].prompt[:root], 0, SHARED, SHARED)
    wanted = Targets()
    for members, shared in families:
        line = Segment()
        line.add(rows[members[0]].prompt[root:shared], root, SHARED, SHARED)
        for branch, index in enumerate(members, 1):
            row = rows[index]
            before = line.add(row.prompt[max(root, shared) :], max(root, shared), branch, SHARED)
            for twig, completion in enumerate(row.completions, 1):
                end = line.add(completion, len(row.prompt), branch, twig) + 1
                wanted.add(completion, len(lines), before, end, first[index] + twig - 1)
        lines.append(line)
    tensors = _packed(lines, wanted, mask_dtype) if packed else _tensors(lines, wanted, pad_id, mask_dtype)
    return tensors | {"tokens": torch.tensor([sum(row.total for row in rows)])}


def _common_root(rows: Sequence[EncodedRow]) -> int:
    """Tokens that all prompts begin with, or 0 where they are few; each prompt goes on after it."""
    head = np.array(rows[0].prompt[:-1])
    root = min(common_prefix_length(head, np.array(row.prompt[:-1])) for row in rows)
    return root if root >= MIN_ROOT_TOKENS else 0


def _packed(lines: Sequence[Segment], wanted: Targets, dtype: torch.dtype) -> Batch:
    """One row of all lines, (1, T). `lines`: (L) their lengths, the root's first. `attention_mask`: (1, 1, T, W), what
    each token sees of the root and of its own line."""
    lengths = [len(line.ids) for line in lines]
    starts = [sum(lengths[:index]) for index in range(len(lines))]
    root, width = lengths[0], lengths[0] + max(lengths)
    blocked = torch.finfo(dtype).min
    mask = torch.full((sum(lengths), width), blocked, dtype=dtype)
    for index, (line, start, length) in enumerate(zip(lines, starts, lengths, strict=True)):
        before = root if index else 0
        mask[start : start + length, :before] = 0
        mask[start : start + length, before : before + length].masked_fill_(_allowed([line], length)[0], 0)
    return {
        "input_ids": torch.tensor([[token for line in lines for token in line.ids]]),
        "position_ids": torch.tensor([[place for line in lines for place in line.positions]]),
        "attention_mask": mask[None, None],
        "lines": torch.tensor(lengths),
        "sources": torch.tensor([starts[line] + place for line, place in wanted.sources]),
        "targets": torch.tensor(wanted.targets),
        "owners": torch.tensor(wanted.owners),
    }


def _tensors(lines: Sequence[Segment], wanted: Targets, pad_id: int, mask_dtype: torch.dtype) -> Batch:
    width = max(len(line.ids) for line in lines)
    return {
        "input_ids": _padded([line.ids for line in lines], width, pad_id),
        "position_ids": _padded([line.positions for line in lines], width, 0),
        "attention_mask": _mask(lines, width, mask_dtype),
        "sources": torch.tensor([line * width + place for line, place in wanted.sources]),
        "targets": torch.tensor(wanted.targets),
        "owners": torch.tensor(wanted.owners),
    }


def _padded(lists: Sequence[list[int]], width: int, filler: int) -> torch.Tensor:
    return torch.tensor([values + [filler] * (width - len(values)) for values in lists])


def _mask(lines: Sequence[Segment], width: int, dtype: torch.dtype) -> torch.Tensor:
    """(B, T) ones and zeros where causal attention says it all; else (B, 1, T, T), added to the scores."""
    if not any(line.forks for line in lines):
        return _padded([[1] * len(line.ids) for line in lines], width, 0)
    blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype)
    return torch.where(_allowed(lines, width), torch.zeros((), dtype=dtype), blocked)[:, None]


def _allowed(lines: Sequence[Segment], width: int) -> torch.Tensor:
    """(B, T, T), which tokens each may look at in its line."""
    branch = _padded([line.branch for line in lines], width, PADDING)
    twig = _padded([line.twig for line in lines], width, PADDING)
    return torch.ones(width, width, dtype=torch.bool).tril() & _seen(branch) & _seen(twig)


def _seen(part: torch.Tensor) -> torch.Tensor:
    """(B, T, T), who sees whom: those of one's own part, and what belongs to all."""
    return (part[:, None, :] == SHARED) | (part[:, None, :] == part[:, :, None])
