"""In which order rows are drawn: those of one batch have similar lengths, and some of them a schema in common."""

import random
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from torch.utils.data import Sampler

from shared.models.beginnings import clusters

WINDOW = 8  # batches sorted by length together: sorting whole epochs would order the curriculum


def families_of(prompts: Sequence[Sequence[int]], siblings: int) -> list[list[int]]:
    """Rows whose prompts have a common beginning; each by itself where none are to be drawn together."""
    if siblings == 1:
        return [[index] for index in range(len(prompts))]
    return [members for members, _ in clusters(list(prompts))]  # a data set's column reads the disk at every look


class Grouped(Sampler[int]):
    """A new order every epoch, the same for the same seed. Up to `siblings` rows of a family stand side by side."""

    def __init__(
        self, lengths: Sequence[int], families: Sequence[Sequence[int]], *, siblings: int, batch_size: int, seed: int
    ) -> None:
        self.lengths = list(lengths)
        self.families = families
        self.siblings = min(siblings, batch_size)
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
        batches: list[list[int]] = []
        for window in self._windows(self._groups(rng)):
            window.sort(key=self._place)
            order = chain.from_iterable(window)
            while batch := list(islice(order, self.batch_size)):
                batches.append(batch)
        short = [batch for batch in batches if len(batch) < self.batch_size]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        rng.shuffle(whole)
        yield from chain.from_iterable([*whole, *short])

    def _groups(self, rng: random.Random) -> list[list[int]]:
        groups: list[list[int]] = []
        for family in self.families:
            members = list(family)
            rng.shuffle(members)
            groups += [members[start : start + self.siblings] for start in range(0, len(members), self.siblings)]
        rng.shuffle(groups)
        return groups

    def _windows(self, groups: Sequence[list[int]]) -> Iterator[list[list[int]]]:
        """Runs of groups with rows for `WINDOW` batches, the last with what is left."""
        window: list[list[int]] = []
        for group in groups:
            window.append(group)
            if sum(map(len, window)) >= WINDOW * self.batch_size:
                yield window
                window = []
        if window:
            yield window

    def _place(self, group: Sequence[int]) -> tuple[int, int]:
        """Larger groups first, so that batches' borders cut few of them; then by length."""
        return -len(group), max(self.lengths[index] for index in group)
