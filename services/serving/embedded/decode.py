"""The decode loop: rows come in by a prefill, advance one token a step together, and leave when finished."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from services.serving.embedded.geometry import Ask, plan_pass
from services.serving.embedded.llama import Llama
from services.serving.embedded.prefix import Prefix, PrefixStack, PrefixStore, Tokens
from services.serving.embedded.sampling import Sampler, choose

PREFILL = 4096  # tokens prefilled in one pass, which bounds its memory


@dataclass
class Row:
    """One sequence being written. `suffix` counts its tokens in the block; `tokens` are those written so far."""

    sampler: Sampler
    max_tokens: int
    prefix: Prefix | None = None
    suffix: int = 0
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None


@dataclass
class Arrival:
    """A prompt with the rows (one a choice) that continue it; they share its prefill."""

    prompt: Tokens
    rows: list[Row]


class Batch:
    """The rows of one model that are decoded together; row i sits in slot i of the block.

    `after_token` is told of each row's new token and may set `finish` (a stop string, a cancelled request).
    """

    def __init__(
        self,
        model: Llama,
        store: PrefixStore,
        ends: frozenset[int],
        after_token: Callable[[Row], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._store = store
        self._ends = ends
        self._after_token = after_token
        self._block = model.new_block()
        self._stack = PrefixStack(model)
        self.rows: list[Row] = []

    def advance(self, arrivals: Sequence[Arrival] = (), waiting: Sequence[Tokens] = ()) -> list[Row]:
        """One more token in every row, and the first ones of those that arrive; returns rows that are finished.

        All in one pass where it fits: reading the weights costs more than most prompts' own tokens do. `waiting`:
        prompts that will arrive later.
        """
        prefixes = self._store.assign([arrival.prompt for arrival in arrivals], waiting) if arrivals else []
        for arrival, prefix in zip(arrivals, prefixes, strict=True):
            for row in arrival.rows:
                row.prefix, row.suffix = prefix, len(arrival.prompt) - len(prefix)
        *before, last = _portions(arrivals) or [[]]
        finished = [row for portion in before for row in self._pass(portion, len(self.rows))]
        return finished + self._pass(last, 0)

    def _pass(self, arrivals: Sequence[Arrival], first: int) -> list[Row]:
        """The rows from `first` on take a step, and `arrivals` begin."""
        running, leaders = self.rows[first:], [arrival.rows[0] for arrival in arrivals]
        asks = [(row, row.tokens[-1:], row.suffix) for row in running]
        begun = [(arrival.rows[0], arrival.prompt[-arrival.rows[0].suffix :], 0) for arrival in arrivals]
        self.rows += leaders
        scores = self._forward(first, [asks, begun])
        for row in running:
            row.suffix += 1
        self._add_siblings(arrivals, first + len(running))
        source = [len(running) + index for index, arrival in enumerate(arrivals) for _ in arrival.rows[1:]]
        return self._write(first, scores[list(range(len(running) + len(leaders))) + source] if source else scores)

    def _add_siblings(self, arrivals: Sequence[Arrival], first: int) -> None:
        for index, arrival in enumerate(arrivals):
            for row in arrival.rows[1:]:
                self._block.reserve(len(self.rows) + 1, row.suffix)
                self._block.copy_slot(first + index, len(self.rows), row.suffix)
                self.rows.append(row)

    def _forward(self, first: int, portions: Sequence[Sequence[tuple[Row, Sequence[int], int]]]) -> torch.Tensor:
        """Scores of each row's last token, for portions of (row, its tokens, where in its suffix they begin)."""
        slots = self._stack.slots([row.prefix for row in self.rows if row.prefix is not None])
        place_of = {id(row): slot for row, slot in zip(self.rows, slots, strict=True)}
        asks = [
            [
                Ask(tokens, start, len(row.prefix) if row.prefix is not None else 0, place_of[id(row)])
                for row, tokens, start in portion
            ]
            for portion in portions
            if portion
        ]
        scores = self._model.forward(plan_pass(self._block, first, asks, self._model.group, self._stack.block))
        assert scores is not None
        return scores

    def _write(self, first: int, scores: torch.Tensor) -> list[Row]:
        rows = self.rows[first:]
        for row, token in zip(rows, choose(scores, [row.sampler for row in rows]), strict=True):
            if token in self._ends:
                row.finish = "stop"
                continue
            row.tokens.append(token)
            if len(row.tokens) >= row.max_tokens:
                row.finish = "length"
            self._after_token(row)
        return self._compact()

    def _compact(self) -> list[Row]:
        """Take finished rows out; the last row moves into each hole."""
        finished = [row for row in self.rows if row.finish is not None]
        for slot in reversed(range(len(self.rows))):
            if self.rows[slot].finish is not None:
                last = self.rows.pop()
                if slot < len(self.rows):
                    self._block.copy_slot(len(self.rows), slot, last.suffix)
                    self.rows[slot] = last
        return finished


def _portions(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    """Arrivals in order, in lists of at most `PREFILL` tokens beyond their prefixes (or one arrival)."""
    portions: list[list[Arrival]] = []
    filled = PREFILL
    for arrival in arrivals:
        size = arrival.rows[0].suffix
        if filled + size > PREFILL:
            portions.append([])
            filled = 0
        portions[-1].append(arrival)
        filled += size
    return portions
