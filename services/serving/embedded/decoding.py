"""The decode loop: sequences join by a prefill, advance one token per step together, and leave when finished."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from services.serving.embedded.forward_plan import SequenceInput, plan_forward
from services.serving.embedded.llama import Llama
from services.serving.embedded.prefix_cache import ActivePrefixes, CachedPrefix, PrefixCache, Tokens

MAX_PREFILL_TOKENS = 4096  # tokens prefilled in one pass, which bounds its memory
NUCLEUS_CANDIDATES = 512  # candidates sorted first; if these do not reach top_p, the whole vocabulary is sorted


@dataclass
class Sampler:
    """How one sequence chooses its tokens: greedily if `generator` is None.

    A sequence owns its generator and draws one number per token, so that other sequences in the batch never shift its
    draws. Its scores depend on the batch only through rounding: in practice never in float32, while in bfloat16 a sum
    in another order can change a close choice.
    """

    temperature: float
    top_p: float
    generator: torch.Generator | None


@dataclass
class DecodedSequence:
    """One answer that is being written: `tokens` so far, of which (with the rest of the prompt) `suffix` are cached."""

    sampler: Sampler
    max_tokens: int
    prefix: CachedPrefix | None = None
    suffix: int = 0
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None


@dataclass
class SequenceGroup:
    """A prompt with the sequences (one per choice) that continue it; they share its prefill."""

    prompt: Tokens
    sequences: list[DecodedSequence]


class DecodingBatch:
    """The sequences of one model that are decoded together; sequence i sits in slot i of the KV cache.

    `after_token` is called with a sequence that has a new token and may set `finish` (a stop string, a cancelled
    request).
    """

    def __init__(
        self,
        model: Llama,
        prefixes: PrefixCache,
        eos_token_ids: frozenset[int],
        after_token: Callable[[DecodedSequence], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._prefixes = prefixes
        self._eos_token_ids = eos_token_ids
        self._after_token = after_token
        self._kv_cache = model.new_kv_cache()
        self._active_prefixes = ActivePrefixes(model)
        self.sequences: list[DecodedSequence] = []

    def advance(self, arrivals: Sequence[SequenceGroup] = (), waiting: Sequence[Tokens] = ()) -> list[DecodedSequence]:
        """Writes one more token of every sequence and the first token of `arrivals`; returns the finished sequences.

        All of this is one pass if it fits: reading the weights costs more than the tokens of most prompts. `waiting`:
        prompts that will arrive later.
        """
        prefixes = self._prefixes.assign([group.prompt for group in arrivals], waiting) if arrivals else []
        for group, prefix in zip(arrivals, prefixes, strict=True):
            for sequence in group.sequences:
                sequence.prefix, sequence.suffix = prefix, len(group.prompt) - len(prefix)
        *before, last = _split_prefill(arrivals) or [[]]
        finished = [sequence for portion in before for sequence in self._step(portion, len(self.sequences))]
        return finished + self._step(last, 0)

    def _step(self, arrivals: Sequence[SequenceGroup], first: int) -> list[DecodedSequence]:
        """Advances the sequences from slot `first` on and prefills `arrivals`."""
        running, leaders = self.sequences[first:], [group.sequences[0] for group in arrivals]
        continued = [(one, one.tokens[-1:], one.suffix) for one in running]
        begun = [(one, group.prompt[-one.suffix :], 0) for one, group in zip(leaders, arrivals, strict=True)]
        self.sequences += leaders
        scores = self._forward(first, [continued, begun])
        for sequence in running:
            sequence.suffix += 1
        self._copy_to_choices(arrivals, first + len(running))
        source = [len(running) + index for index, group in enumerate(arrivals) for _ in group.sequences[1:]]
        return self._write(first, scores[list(range(len(running) + len(leaders))) + source] if source else scores)

    def _copy_to_choices(self, arrivals: Sequence[SequenceGroup], first: int) -> None:
        """The first sequence of a group was prefilled; the others get copies of its keys and values."""
        for index, group in enumerate(arrivals):
            for sequence in group.sequences[1:]:
                self._kv_cache.reserve(len(self.sequences) + 1, sequence.suffix)
                self._kv_cache.copy_slot(first + index, len(self.sequences), sequence.suffix)
                self.sequences.append(sequence)

    def _forward(
        self, first: int, portions: Sequence[Sequence[tuple[DecodedSequence, Sequence[int], int]]]
    ) -> torch.Tensor:
        """Scores of each sequence's last token, for portions of (sequence, its tokens, their start in its suffix)."""
        slots = self._active_prefixes.slots([one.prefix for one in self.sequences if one.prefix is not None])
        slot_of = {id(sequence): slot for sequence, slot in zip(self.sequences, slots, strict=True)}
        inputs = [
            [
                SequenceInput(tokens, start, len(one.prefix) if one.prefix is not None else 0, slot_of[id(one)])
                for one, tokens, start in portion
            ]
            for portion in portions
            if portion
        ]
        plan = plan_forward(self._kv_cache, first, inputs, self._model.group, self._active_prefixes.kv_cache)
        scores = self._model.forward(plan)
        assert scores is not None
        return scores

    def _write(self, first: int, scores: torch.Tensor) -> list[DecodedSequence]:
        sequences = self.sequences[first:]
        for sequence, token in zip(sequences, sample_tokens(scores, [one.sampler for one in sequences]), strict=True):
            if token in self._eos_token_ids:
                sequence.finish = "stop"
                continue
            sequence.tokens.append(token)
            if len(sequence.tokens) >= sequence.max_tokens:
                sequence.finish = "length"
            self._after_token(sequence)
        return self._remove_finished()

    def _remove_finished(self) -> list[DecodedSequence]:
        """Removes finished sequences; the last one moves into each hole."""
        finished = [one for one in self.sequences if one.finish is not None]
        # from the end, so that the sequence that moves into a hole is never a finished one
        for slot in reversed(range(len(self.sequences))):
            if self.sequences[slot].finish is not None:
                last = self.sequences.pop()
                if slot < len(self.sequences):
                    self._kv_cache.copy_slot(len(self.sequences), slot, last.suffix)
                    self.sequences[slot] = last
        return finished


def _split_prefill(arrivals: Sequence[SequenceGroup]) -> list[list[SequenceGroup]]:
    """Splits arrivals, in order, into lists of at most `MAX_PREFILL_TOKENS` tokens beyond their prefixes.

    A larger arrival gets a list of its own.
    """
    portions: list[list[SequenceGroup]] = []
    filled = MAX_PREFILL_TOKENS
    for group in arrivals:
        size = group.sequences[0].suffix
        if filled + size > MAX_PREFILL_TOKENS:
            portions.append([])
            filled = 0
        portions[-1].append(group)
        filled += size
    return portions


def make_sampler(temperature: float, top_p: float, seed: int, choice: int) -> Sampler:
    """The sampler of one of a request's n choices; each has its own random stream, derived from the seed."""
    if temperature == 0.0:
        return Sampler(temperature, top_p, None)
    digest = hashlib.sha256(f"{seed}/{choice}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return Sampler(temperature, top_p, generator)


def sample_tokens(scores: Tensor, samplers: Sequence[Sampler]) -> list[int]:
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
    # rows so flat that the sorted candidates do not reach top_p
    flat = torch.nonzero(ranked.sum(-1) < top_p[:, 0])[:, 0]
    if len(flat):
        ranked, tokens = chances[flat].sort(-1, descending=True)
        picked[flat] = _nucleus(ranked, tokens, top_p[flat], draws[flat])
    return [int(token) for token in picked]


def _nucleus(ranked: Tensor, tokens: Tensor, top_p: Tensor, draws: Tensor) -> Tensor:
    """One token per row, of those that come before `top_p` is reached; `ranked` begins with the largest."""
    # the token that crosses `top_p` stays in, so that at least one does
    kept = ranked.masked_fill(ranked.cumsum(-1) - ranked >= top_p, 0.0)
    places = torch.tensor(_invert(kept.cumsum(-1), draws))
    return tokens.gather(1, places[:, None])[:, 0]


def _invert(cumulative: Tensor, draws: Tensor) -> list[int]:
    """The first index whose cumulative probability exceeds the draw's share of the total."""
    # a draw of almost 1 must not fall behind the last token
    places = torch.searchsorted(cumulative, draws.clamp(max=1 - 1e-6) * cumulative[:, -1:], right=True)
    return [int(place) for place in places[:, 0]]
