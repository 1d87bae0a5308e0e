"""From encoded rows to tensors: what is laid out once is computed once."""

import random
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from services.training.run.rows import Encoded

Batch = dict[str, torch.Tensor]


def lay_out(rows: Sequence[Encoded], pad_id: int, *, share_prompt: bool, mask_dtype: torch.dtype) -> Batch:
    """Tensors for `rows`, padded on the right.

    `input_ids`, `position_ids`: (B, T). `targets`: (N), every completion token of the batch. `sources`: (N), the
    flat index (into B*T) of the hidden state that predicts it. `owners`: (N), its completion's index, counted row
    by row. `tokens`: (1), how many are no padding. With `share_prompt` a row's completions follow one copy of its
    prompt, each at the positions right after the prompt and blind to the other: the same numbers as two sequences,
    for fewer tokens.
    """
    if not share_prompt:
        rows = [Encoded(row.prompt, [completion]) for row in rows for completion in row.completions]
    width = max(row.total for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for index, row in enumerate(rows):
        start = len(row.prompt)
        ids[index, :start] = torch.tensor(row.prompt)
        positions[index, :start] = torch.arange(start)
        for completion in row.completions:
            end = start + len(completion)
            ids[index, start:end] = torch.tensor(completion)
            positions[index, start:end] = torch.arange(len(row.prompt), len(row.prompt) + len(completion))
            before = [len(row.prompt) - 1, *range(start, end - 1)]
            sources += [index * width + position for position in before]
            targets += completion
            owners += [owners[-1] + 1 if owners else 0] * len(completion)
            start = end
    batch = {"input_ids": ids, "position_ids": positions, "attention_mask": _mask(rows, width, mask_dtype)}
    tokens = [sum(row.total for row in rows)]
    lists = {"sources": sources, "targets": targets, "owners": owners, "tokens": tokens}
    return batch | {name: torch.tensor(values) for name, values in lists.items()}


def _mask(rows: Sequence[Encoded], width: int, dtype: torch.dtype) -> torch.Tensor:
    """(B, T) ones and zeros where causal attention says it all; else (B, 1, T, T), added to the scores."""
    if all(len(row.completions) == 1 for row in rows):
        return torch.tensor([[1] * row.total + [0] * (width - row.total) for row in rows])
    allowed = torch.ones(width, width, dtype=torch.bool).tril().repeat(len(rows), 1, 1)
    for index, row in enumerate(rows):
        first = len(row.prompt)
        start = first
        for completion in row.completions:
            allowed[index, start : start + len(completion), first:start] = False
            start += len(completion)
    blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype)
    return torch.where(allowed, torch.zeros((), dtype=dtype), blocked)[:, None]


class LengthGrouped(Sampler[int]):
    """A new order every epoch in which rows of one batch have similar lengths; the same for the same seed."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before every epoch, also on resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}:{self.epoch}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        # Sorting whole epochs would order the curriculum; within eight batches padding is already small.
        span = 8 * self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), span):
            window = sorted(order[start : start + span], key=lambda index: self.lengths[index])
            batches += [window[i : i + self.batch_size] for i in range(0, len(window), self.batch_size)]
        short = [batch for batch in batches if len(batch) < self.batch_size]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        rng.shuffle(whole)
        yield from (index for batch in [*whole, *short] for index in batch)
