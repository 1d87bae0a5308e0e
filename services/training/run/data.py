"""Training data: read, rendered through the chat template, tokenized, cut to `max_length`, drawn in prompt groups."""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from pydantic import ValidationError
from torch.utils.data import Sampler

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from shared.contracts.records import DpoRecord, Message, SftRecord
from shared.files import split_lines
from shared.models.shared_prefixes import group_by_prefix
from shared.models.tokenization import ChatEncoder
from shared.sql.prompt import shorten_prompt, shorten_text

PERCENTILES = (50, 90, 99)
WINDOW_BATCHES = 8  # batches sorted by length together: sorting whole epochs would turn length into a curriculum


@dataclass(frozen=True)
class EncodedRow:
    """Token ids of a prompt and of the completions that follow it (one for SFT; chosen, rejected for DPO)."""

    prompt: list[int]
    completions: list[list[int]]

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(len(completion) for completion in self.completions)

    @property
    def total(self) -> int:
        return len(self.prompt) + sum(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class DataFacts:
    """How many rows were kept, shortened and dropped; `sha256` is that of the data file.

    Lengths are in tokens, of a prompt with its longest completion: `longest` of the kept rows, `lengths` (percentiles
    and `max`) of all rows before shortening. `shortened` counts rows by the step that made them fit
    (shared/sql/prompt.py).
    """

    rows: int
    kept: int
    dropped: int
    longest: int
    sha256: str
    shortened: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)


def read_rows(config: TrainConfig) -> list[tuple[list[Message], list[list[Message]]]]:
    try:
        lines = split_lines(config.data.read_bytes().decode())
    except (OSError, ValueError) as error:
        raise TrainingStop(ExitCode.DATA, f"The training data {config.data} cannot be read: {error}.") from error
    rows = [_parse(config, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise TrainingStop(ExitCode.DATA, f"The training data {config.data} has no rows: collect examples first.")
    return rows


def _parse(config: TrainConfig, number: int, line: str) -> tuple[list[Message], list[list[Message]]]:
    try:
        if config.method == "sft":
            row = SftRecord.model_validate_json(line)
            return row.prompt, [row.completion]
        pair = DpoRecord.model_validate_json(line)
        return pair.prompt, [pair.chosen, pair.rejected]
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise TrainingStop(
            ExitCode.DATA, f"Line {number} of {config.data} is no {config.method} row: {where}: {problem['msg']}."
        ) from error


def encode_rows(config: TrainConfig, tokenizer: Any) -> tuple[list[EncodedRow], DataFacts]:
    """Encodes all rows that fit `max_length`, shortening long prompts. Raises `TrainingStop` if too many do not fit.

    Needs only the tokenizer, so that a `max_length` that is too low is reported before any weights are loaded.
    """
    rows = read_rows(config)
    kept: list[EncodedRow] = []
    lengths: list[int] = []
    shortened: Counter[str] = Counter()
    for prompt, completions in rows:
        row = encode_row(tokenizer, prompt, completions)
        lengths.append(row.longest)
        if row.longest > config.max_length:
            row, step = shorten_to_fit(tokenizer, prompt, completions, config.max_length)
            if row.longest > config.max_length:
                continue
            shortened[step] += 1
        kept.append(row)
    _check_dropped(config, lengths, len(kept))
    return kept, DataFacts(
        rows=len(rows),
        kept=len(kept),
        dropped=len(rows) - len(kept),
        longest=max(row.longest for row in kept),
        sha256=hashlib.sha256(config.data.read_bytes()).hexdigest(),
        shortened=dict(sorted(shortened.items())),
        lengths=length_statistics(lengths),
    )


def shorten_to_fit(
    tokenizer: Any, prompt: Sequence[Message], completions: Sequence[Sequence[Message]], limit: int
) -> tuple[EncodedRow, str]:
    """Returns the row, its prompt shortened as little as `limit` tokens allow, and the name of the step that did it."""
    _, step = shorten_prompt(prompt, lambda shown: encode_row(tokenizer, shown, completions).longest <= limit)
    shown = [one.model_copy(update={"content": shorten_text(one.content, step)}) for one in prompt]
    return encode_row(tokenizer, shown, completions), step.name


def length_statistics(lengths: Sequence[int]) -> dict[str, int]:
    ordered = sorted(lengths)
    found = {f"p{share}": ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)] for share in PERCENTILES}
    return found | {"max": ordered[-1]}


def _check_dropped(config: TrainConfig, lengths: Sequence[int], kept: int) -> None:
    dropped = len(lengths) - kept
    if kept and dropped <= config.dropped_allowed * len(lengths):
        return
    statistics = ", ".join(f"{name} {value}" for name, value in length_statistics(lengths).items())
    which = f"{dropped} of {len(lengths)} rows are" if kept else f"All {len(lengths)} rows are"
    raise TrainingStop(
        ExitCode.DATA,
        f"{which} longer than max_length={config.max_length} tokens even without sample rows (lengths: {statistics}; "
        f"allowed to be left out: {config.dropped_allowed:.1%}): raise max_length"
        + (", or allow it with dropped_allowed." if kept else "."),
    )


def encode_row(tokenizer: Any, prompt: Sequence[Message], completions: Sequence[Sequence[Message]]) -> EncodedRow:
    """Token ids as serving sees them: the prompt ends with the generation prompt, a completion with eos.

    Prompt and completion are tokenized separately, so that no token spans the boundary where generation starts.
    """
    chat = ChatEncoder(tokenizer, [one.content for part in (prompt, *completions) for one in part])
    turns = chat.escape_turns([message.model_dump() for message in prompt])
    head = chat.render(turns, generation_prompt=True)
    tails = [_completion_text(tokenizer, chat, turns, head, completion) for completion in completions]
    return EncodedRow(prompt=chat.encode(head), completions=[chat.encode(tail) for tail in tails])


def _completion_text(
    tokenizer: Any, chat: ChatEncoder, turns: list[dict[str, Any]], head: str, completion: Sequence[Message]
) -> str:
    full = chat.render([*turns, *chat.escape_turns([message.model_dump() for message in completion])])
    # some templates change earlier turns when another one follows
    if not full.startswith(head):
        raise TrainingStop(
            ExitCode.DATA,
            "The base's chat template renders a prompt differently once an answer follows it, so that training and "
            "serving would differ: choose a base whose template keeps the prompt.",
        )
    tail = full[len(head) :]
    # templates may add a newline after eos, which serving never generates
    end = tail.rfind(tokenizer.eos_token)
    return tail[: end + len(tokenizer.eos_token)] if end >= 0 else tail + tokenizer.eos_token


def prompt_groups(prompts: Sequence[Sequence[int]], prompt_group_size: int) -> list[list[int]]:
    if prompt_group_size == 1:
        return [[index] for index in range(len(prompts))]
    return [members for members, _ in group_by_prefix(list(prompts))]  # a dataset column reads the disk on each access


class PromptGroupSampler(Sampler[int]):
    """A new order every epoch, fixed by the seed. Up to `prompt_group_size` rows of a group stand side by side."""

    def __init__(
        self,
        lengths: Sequence[int],
        groups: Sequence[Sequence[int]],
        *,
        prompt_group_size: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.lengths = list(lengths)
        self.groups = groups
        self.prompt_group_size = min(prompt_group_size, batch_size)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before every epoch, also on resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        # a generator that depends on seed and epoch alone: a resumed run draws the same order
        rng = random.Random(f"{self.seed}:{self.epoch}")
        batches: list[list[int]] = []
        for window in self._windows(self._draw_groups(rng)):
            # larger groups first, so that few of them are cut by the end of a batch; then by length
            window.sort(key=lambda group: (-len(group), max(self.lengths[index] for index in group)))
            order = chain.from_iterable(window)
            while batch := list(islice(order, self.batch_size)):
                batches.append(batch)
        short = [batch for batch in batches if len(batch) < self.batch_size]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        # only whole batches are shuffled: a short one in the middle would shift the borders of all later batches
        rng.shuffle(whole)
        yield from chain.from_iterable([*whole, *short])

    def _draw_groups(self, rng: random.Random) -> list[list[int]]:
        drawn: list[list[int]] = []
        size = self.prompt_group_size
        for group in self.groups:
            members = list(group)
            rng.shuffle(members)
            drawn += [members[start : start + size] for start in range(0, len(members), size)]
        rng.shuffle(drawn)
        return drawn

    def _windows(self, groups: Sequence[list[int]]) -> Iterator[list[list[int]]]:
        """Consecutive groups with enough rows for `WINDOW_BATCHES` batches; the last window has the rest."""
        window: list[list[int]] = []
        for group in groups:
            window.append(group)
            if sum(map(len, window)) >= WINDOW_BATCHES * self.batch_size:
                yield window
                window = []
        if window:
            yield window
