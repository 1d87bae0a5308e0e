"""The decode loop: rows come in by a prefill, advance one token a step together, and leave when finished."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from services.serving.embedded.forward_plan import SequenceInput, plan_forward
from services.serving.embedded.llama import Llama
from services.serving.embedded.prefix_cache import ActivePrefixes, CachedPrefix, PrefixCache, Tokens

NUCLEUS_CANDIDATES = 512  # candidates sorted first; a row whose candidates do not reach top_p is sorted whole


@dataclass
class Sampler:
    """One row's way to choose: greedy where `generator` is None.

    A row owns its generator and draws one number a token, so what else is in the batch never shifts its draws. Scores
    themselves are the same in another batch only as far as the arithmetic allows: in float32 in practice always, in
    bfloat16 a sum in another order can move a close choice.
    """

    temperature: float
    top_p: float
    generator: torch.Generator | None


def make_sampler(temperature: float, top_p: float, seed: int, choice: int) -> Sampler:
    """The sampler of one of a request's n choices; each choice has a stream of its own derived from the seed."""
    if temperature == 0.0:
        return Sampler(temperature, top_p, None)
    digest = hashlib.sha256(f"{seed}/{choice}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return Sampler(temperature, top_p, generator)


def sample_tokens(scores: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """One token a row from scores [rows, vocabulary]."""
    scores = scores.float()
    drawn = [row for row, sampler in enumerate(samplers) if sampler.generator is not None]
    chosen: list[int] = [0] * len(samplers)
    if len(drawn) < len(samplers):
        chosen = scores.argmax(-1).tolist()
    if drawn:
        picked = _draw(scores[drawn], [samplers[row] for row in drawn])
        for row, token in zip(drawn, picked, strict=True):
            chosen[row] = token
    return chosen


def _draw(scores: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    temperatures = torch.tensor([sampler.temperature for sampler in samplers])
    chances = torch.softmax(scores / temperatures[:, None], -1)
    draws = torch.stack([torch.rand(1, generator=sampler.generator) for sampler in samplers])
    top_p = torch.tensor([sampler.top_p for sampler in samplers])[:, None]
    if bool((top_p >= 1.0).all()):
        return _invert(chances.cumsum(-1), draws)
    ranked, tokens = chances.topk(min(NUCLEUS_CANDIDATES, chances.shape[-1]), -1)
    picked = _nucleus(ranked, tokens, top_p, draws)
    flat = torch.nonzero(ranked.sum(-1) < top_p[:, 0])[:, 0]
    if len(flat):
        ranked, tokens = chances[flat].sort(-1, descending=True)
        picked[flat] = _nucleus(ranked, tokens, top_p[flat], draws[flat])
    return [int(token) for token in picked]


def _nucleus(ranked: Tensor, tokens: Tensor, top_p: Tensor, draws: Tensor) -> Tensor:
    """One token a row, [rows], of those whose chances come before `top_p` is reached; `ranked` from the largest on."""
    kept = ranked.masked_fill(ranked.cumsum(-1) - ranked >= top_p, 0.0)
    places = torch.tensor(_invert(kept.cumsum(-1), draws))
    return tokens.gather(1, places[:, None])[:, 0]


def _invert(cumulative: Tensor, draws: Tensor) -> list[int]:
    """The first place whose cumulative chance exceeds the draw's share of the total."""
    places = torch.searchsorted(cumulative, draws.clamp(max=1 - 1e-6) * cumulative[:, -1:], right=True)
    return [int(place) for place in places[:, 0]]


MAX_PREFILL_TOKENS = 4096  # tokens prefilled in one pass, which bounds its memory


@dataclass
class DecodedSequence:
    """One sequence being written. `suffix` counts its tokens in the block; `tokens` are those written so far."""

    sampler: Sampler
    max_tokens: int
    prefix: CachedPrefix | None = None
    suffix: int = 0
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None


@dataclass
class SequenceGroup:
    """A prompt with the rows (one a choice) that continue it; they share its prefill."""

    prompt: Tokens
    rows: list[DecodedSequence]


class DecodingBatch:
    """The rows of one model that are decoded together; row i sits in slot i of the block.

    `after_token` is told of each row's new token and may set `finish` (a stop string, a cancelled request).
    """

    def __init__(
        self,
        model: Llama,
        store: PrefixCache,
        eos_token_ids: frozenset[int],
        after_token: Callable[[DecodedSequence], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._store = store
        self._eos_token_ids = eos_token_ids
        self._after_token = after_token
        self._block = model.new_kv_cache()
        self._stack = ActivePrefixes(model)
        self.rows: list[DecodedSequence] = []

    def advance(self, arrivals: Sequence[SequenceGroup] = (), waiting: Sequence[Tokens] = ()) -> list[DecodedSequence]:
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

    def _pass(self, arrivals: Sequence[SequenceGroup], first: int) -> list[DecodedSequence]:
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

    def _add_siblings(self, arrivals: Sequence[SequenceGroup], first: int) -> None:
        for index, arrival in enumerate(arrivals):
            for row in arrival.rows[1:]:
                self._block.reserve(len(self.rows) + 1, row.suffix)
                self._block.copy_slot(first + index, len(self.rows), row.suffix)
                self.rows.append(row)

    def _forward(
        self, first: int, portions: Sequence[Sequence[tuple[DecodedSequence, Sequence[int], int]]]
    ) -> torch.Tensor:
        """Scores of each row's last token, for portions of (row, its tokens, where in its suffix they begin)."""
        slots = self._stack.slots([row.prefix for row in self.rows if row.prefix is not None])
        place_of = {id(row): slot for row, slot in zip(self.rows, slots, strict=True)}
        asks = [
            [
                SequenceInput(tokens, start, len(row.prefix) if row.prefix is not None else 0, place_of[id(row)])
                for row, tokens, start in portion
            ]
            for portion in portions
            if portion
        ]
        scores = self._model.forward(plan_forward(self._block, first, asks, self._model.group, self._stack.block))
        assert scores is not None
        return scores

    def _write(self, first: int, scores: torch.Tensor) -> list[DecodedSequence]:
        rows = self.rows[first:]
        for row, token in zip(rows, sample_tokens(scores, [row.sampler for row in rows]), strict=True):
            if token in self._eos_token_ids:
                row.finish = "stop"
                continue
            row.tokens.append(token)
            if len(row.tokens) >= row.max_tokens:
                row.finish = "length"
            self._after_token(row)
        return self._compact()

    def _compact(self) -> list[DecodedSequence]:
        """Take finished rows out; the last row moves into each hole."""
        finished = [row for row in self.rows if row.finish is not None]
        for slot in reversed(range(len(self.rows))):
            if self.rows[slot].finish is not None:
                last = self.rows.pop()
                if slot < len(self.rows):
                    self._block.copy_slot(len(self.rows), slot, last.suffix)
                    self.rows[slot] = last
        return finished


def _portions(arrivals: Sequence[SequenceGroup]) -> list[list[SequenceGroup]]:
    """Arrivals in order, in lists of at most `PREFILL` tokens beyond their prefixes (or one arrival)."""
    portions: list[list[SequenceGroup]] = []
    filled = MAX_PREFILL_TOKENS
    for arrival in arrivals:
        size = arrival.rows[0].suffix
        if filled + size > MAX_PREFILL_TOKENS:
            portions.append([])
            filled = 0
        portions[-1].append(arrival)
        filled += size
    return portions
