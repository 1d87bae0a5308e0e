"""From encoded rows to tensors: what is laid out once is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from services.training.run.rows import Encoded
from shared.models.beginnings import clusters

Batch = dict[str, torch.Tensor]
ALL = 0  # the branch or twig of tokens that those after them all see
NOBODY = -1  # of padding


@dataclass
class Line:
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
        return len(set(self.branch) - {ALL}) > 1 or len(set(self.twig) - {ALL}) > 1


@dataclass
class Wanted:
    """What is to be predicted: tokens, the (line, place) before each, the completion that each belongs to."""

    targets: list[int] = field(default_factory=list)
    sources: list[tuple[int, int]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def add(self, completion: Sequence[int], line: int, before: int, end: int, owner: int) -> None:
        """A completion whose tokens lie right before `end`, the first one predicted at `before`."""
        self.targets += completion
        self.sources += [(line, place) for place in (before, *range(end - len(completion), end - 1))]
        self.owners += [owner] * len(completion)


def lay_out(
    rows: Sequence[Encoded], pad_id: int, *, share_prompt: bool, mask_dtype: torch.dtype, siblings: bool = False
) -> Batch:
    """Tensors for `rows`, padded on the right.

    `input_ids`, `position_ids`: (B, T). `targets`: (N), every completion token of the batch. `sources`: (N), the
    flat index (into B*T) of the hidden state that predicts it. `owners`: (N), its completion's index, counted row
    by row in the order given. `tokens`: (1), those of all rows, each with its prompt once, without padding.

    With `share_prompt` a row's completions follow one copy of its prompt, and with `siblings` rows whose prompts have a
    common beginning follow one copy of it: each at the positions that it would have alone, and blind to the others.
    That gives the same numbers as sequences of their own, for fewer tokens.
    """
    if not share_prompt:
        rows = [Encoded(row.prompt, [completion]) for row in rows for completion in row.completions]
    first = [sum(len(row.completions) for row in rows[:index]) for index in range(len(rows))]
    alone = [([index], 0) for index in range(len(rows))]
    families = clusters([row.prompt for row in rows]) if siblings and share_prompt else alone
    lines: list[Line] = []
    wanted = Wanted()
    for members, shared in families:
        line = Line()
        line.add(rows[members[0]].prompt[:shared], 0, ALL, ALL)
        for branch, index in enumerate(members, 1):
            row = rows[index]
            before = line.add(row.prompt[shared:], shared, branch, ALL)
            for twig, completion in enumerate(row.completions, 1):
                end = line.add(completion, len(row.prompt), branch, twig) + 1
                wanted.add(completion, len(lines), before, end, first[index] + twig - 1)
        lines.append(line)
    return _tensors(lines, wanted, pad_id, mask_dtype) | {"tokens": torch.tensor([sum(row.total for row in rows)])}


def _tensors(lines: Sequence[Line], wanted: Wanted, pad_id: int, mask_dtype: torch.dtype) -> Batch:
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


def _mask(lines: Sequence[Line], width: int, dtype: torch.dtype) -> torch.Tensor:
    """(B, T) ones and zeros where causal attention says it all; else (B, 1, T, T), added to the scores."""
    if not any(line.forks for line in lines):
        return _padded([[1] * len(line.ids) for line in lines], width, 0)
    branch = _padded([line.branch for line in lines], width, NOBODY)
    twig = _padded([line.twig for line in lines], width, NOBODY)
    allowed = torch.ones(width, width, dtype=torch.bool).tril() & _seen(branch) & _seen(twig)
    blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype)
    return torch.where(allowed, torch.zeros((), dtype=dtype), blocked)[:, None]


def _seen(part: torch.Tensor) -> torch.Tensor:
    """(B, T, T), who sees whom: those of one's own part, and what belongs to all."""
    return (part[:, None, :] == ALL) | (part[:, None, :] == part[:, :, None])
