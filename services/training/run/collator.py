"""The collator: encoded rows to tensors, in which a shared prompt or prefix is laid out (and computed) once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from services.training.run.data import EncodedRow
from shared.models.shared_prefixes import common_prefix_length, group_by_prefix

Batch = dict[str, torch.Tensor]
SHARED = 0  # prompt or completion number of tokens that all later tokens of the segment see
PADDING = -1
MIN_ROOT_TOKENS = 8  # a prefix of all prompts of a batch shorter than this is not worth a segment of its own


@dataclass
class Segment:
    """A prompt group as a tree: the shared prefix, then the rest of each prompt, then its completions.

    `prompt` and `completion` number the branch that each token belongs to, or are `SHARED`.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    completion: list[int] = field(default_factory=list)

    def add(self, tokens: Sequence[int], position: int, prompt: int, completion: int) -> int:
        self.ids += tokens
        self.positions += range(position, position + len(tokens))
        self.prompt += [prompt] * len(tokens)
        self.completion += [completion] * len(tokens)
        return len(self.ids) - 1

    @property
    def branches(self) -> bool:
        """Whether causal attention alone would let a token see one of another branch."""
        return len(set(self.prompt) - {SHARED}) > 1 or len(set(self.completion) - {SHARED}) > 1


@dataclass
class Targets:
    """The tokens to predict, the (segment, index) that predicts each, and the completion that each belongs to."""

    targets: list[int] = field(default_factory=list)
    sources: list[tuple[int, int]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def add(self, completion: Sequence[int], segment: int, before: int, end: int, owner: int) -> None:
        """Adds a completion whose tokens lie right before `end`; the token at `before` predicts the first one."""
        self.targets += completion
        self.sources += [(segment, index) for index in (before, *range(end - len(completion), end - 1))]
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
    flat index (into B*T) of the hidden state that predicts it. `owners`: (N), the index of its completion, counted
    row by row in the order given. `tokens`: (1), those of all rows, each with its prompt once, without padding.

    With `share_prompt` the completions of a row follow one copy of its prompt. With `group_prompts` the rows of a
    prompt group also follow one copy of their shared prefix. Each token keeps the position that it would have alone
    and sees no other branch, so the numbers are those of separate sequences, for fewer tokens. With `packed` (for
    models with segment attention) prompt groups are always shared, B is 1, nothing is padded, and the prefix of all
    prompts is laid out once.
    """
    if not share_prompt:
        rows = [EncodedRow(row.prompt, [completion]) for row in rows for completion in row.completions]
    # groups reorder the rows; `owners` still counts completions in the order given
    first = [sum(len(row.completions) for row in rows[:index]) for index in range(len(rows))]
    groups = [([index], 0) for index in range(len(rows))]
    if share_prompt and (group_prompts or packed):
        groups = group_by_prefix([row.prompt for row in rows])
    root = _root_length(rows) if packed and len(groups) > 1 else 0
    segments = [Segment()] if packed else []
    if root:
        segments[0].add(rows[0].prompt[:root], 0, SHARED, SHARED)
    targets = Targets()
    for members, shared in groups:
        segment = Segment()
        segment.add(rows[members[0]].prompt[root:shared], root, SHARED, SHARED)
        for prompt, index in enumerate(members, 1):
            row = rows[index]
            before = segment.add(row.prompt[max(root, shared) :], max(root, shared), prompt, SHARED)
            for number, completion in enumerate(row.completions, 1):
                end = segment.add(completion, len(row.prompt), prompt, number) + 1
                targets.add(completion, len(segments), before, end, first[index] + number - 1)
        segments.append(segment)
    tensors = _pack(segments, targets, mask_dtype) if packed else _pad(segments, targets, pad_id, mask_dtype)
    return tensors | {"tokens": torch.tensor([sum(row.total for row in rows)])}


def _root_length(rows: Sequence[EncodedRow]) -> int:
    """Tokens that all prompts begin with, or 0 if they are few; every prompt goes on after them."""
    # the last token is left out: it predicts the first token of the completion and must stay in the segment
    head = np.array(rows[0].prompt[:-1])
    root = min(common_prefix_length(head, np.array(row.prompt[:-1])) for row in rows)
    return root if root >= MIN_ROOT_TOKENS else 0


def _pack(segments: Sequence[Segment], targets: Targets, dtype: torch.dtype) -> Batch:
    """All segments in one row, (1, T), the root first. `attention_mask`: (1, 1, T, W), what each token sees of the
    root and of its segment."""
    lengths = [len(segment.ids) for segment in segments]
    starts = [sum(lengths[:index]) for index in range(len(segments))]
    root, width = lengths[0], lengths[0] + max(lengths)
    mask = torch.full((sum(lengths), width), torch.finfo(dtype).min, dtype=dtype)
    for index, (segment, start, length) in enumerate(zip(segments, starts, lengths, strict=True)):
        before = root if index else 0
        mask[start : start + length, :before] = 0
        mask[start : start + length, before : before + length].masked_fill_(_visible([segment], length)[0], 0)
    return {
        "input_ids": torch.tensor([[token for segment in segments for token in segment.ids]]),
        "position_ids": torch.tensor([[position for segment in segments for position in segment.positions]]),
        "attention_mask": mask[None, None],
        "segment_lengths": torch.tensor(lengths),
        "sources": torch.tensor([starts[segment] + index for segment, index in targets.sources]),
        "targets": torch.tensor(targets.targets),
        "owners": torch.tensor(targets.owners),
    }


def _pad(segments: Sequence[Segment], targets: Targets, pad_id: int, mask_dtype: torch.dtype) -> Batch:
    """A row per segment. `attention_mask`: (B, T) if causal attention is enough; else (B, 1, T, T), added to scores."""
    width = max(len(segment.ids) for segment in segments)
    if any(segment.branches for segment in segments):
        blocked = torch.full((), torch.finfo(mask_dtype).min, dtype=mask_dtype)
        mask = torch.where(_visible(segments, width), torch.zeros((), dtype=mask_dtype), blocked)[:, None]
    else:
        mask = _padded([[1] * len(segment.ids) for segment in segments], width, 0)
    return {
        "input_ids": _padded([segment.ids for segment in segments], width, pad_id),
        "position_ids": _padded([segment.positions for segment in segments], width, 0),
        "attention_mask": mask,
        "sources": torch.tensor([segment * width + index for segment, index in targets.sources]),
        "targets": torch.tensor(targets.targets),
        "owners": torch.tensor(targets.owners),
    }


def _padded(lists: Sequence[list[int]], width: int, filler: int) -> torch.Tensor:
    return torch.tensor([values + [filler] * (width - len(values)) for values in lists])


def _visible(segments: Sequence[Segment], width: int) -> torch.Tensor:
    """(B, T, T), which tokens of its segment each token may attend to."""
    visible = torch.ones(width, width, dtype=torch.bool).tril()
    for branches in ([one.prompt for one in segments], [one.completion for one in segments]):
        number = _padded(branches, width, PADDING)
        visible = visible & ((number[:, None, :] == SHARED) | (number[:, None, :] == number[:, :, None]))
    return visible
