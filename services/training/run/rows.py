"""Rows in: validated, rendered through the chat template, tokenized, measured against `max_length`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from shared.contracts.records import DpoRow, Message, SftRow

TOO_LONG_ALLOWED = 0.01


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt and of the completions that follow it (one for SFT; chosen, rejected for DPO)."""

    prompt: list[int]
    completions: list[list[int]]

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longest completion."""
        return len(self.prompt) + max(len(completion) for completion in self.completions)

    @property
    def total(self) -> int:
        """Tokens of the prompt once and all completions."""
        return len(self.prompt) + sum(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class DataFacts:
    """What became of the rows; `sha256` is over the data file's bytes."""

    rows: int
    kept: int
    dropped: int
    longest: int
    sha256: str


def read_rows(config: TrainConfig) -> list[tuple[list[Message], list[list[Message]]]]:
    """Prompt and completions of every line; the lineage columns stay behind."""
    try:
        lines = config.data.read_text().splitlines()
    except OSError as error:
        raise TrainingStop(ExitCode.DATA, f"The training data {config.data} cannot be read: {error}.") from error
    rows = [_parse(config, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise TrainingStop(ExitCode.DATA, f"The training data {config.data} has no rows: collect examples first.")
    return rows


def _parse(config: TrainConfig, number: int, line: str) -> tuple[list[Message], list[list[Message]]]:
    try:
        if config.method == "sft":
            row = SftRow.model_validate_json(line)
            return row.prompt, [row.completion]
        pair = DpoRow.model_validate_json(line)
        return pair.prompt, [pair.chosen, pair.rejected]
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise TrainingStop(
            ExitCode.DATA, f"Line {number} of {config.data} is no {config.method} row: {where}: {problem['msg']}."
        ) from error


def encode_rows(config: TrainConfig, tokenizer: Any) -> tuple[list[Encoded], DataFacts]:
    """All rows that fit `max_length`; refuses the data when more than 1 % do not."""
    rows = read_rows(config)
    encoded = [encode(tokenizer, prompt, completions) for prompt, completions in rows]
    kept = [row for row in encoded if row.longest <= config.max_length]
    dropped = len(encoded) - len(kept)
    longest = max(row.longest for row in encoded)
    if dropped > TOO_LONG_ALLOWED * len(encoded):
        raise TrainingStop(
            ExitCode.DATA,
            f"{dropped} of {len(encoded)} rows are longer than max_length={config.max_length} tokens (the longest has "
            f"{longest}): raise max_length, or show fewer example rows in the prompt.",
        )
    digest = hashlib.sha256(config.data.read_bytes()).hexdigest()
    return kept, DataFacts(rows=len(encoded), kept=len(kept), dropped=dropped, longest=longest, sha256=digest)


def encode(tokenizer: Any, prompt: Sequence[Message], completions: Sequence[Sequence[Message]]) -> Encoded:
    """Token ids as serving will see them: the prompt ends with the generation prompt, a completion with eos.

    Prompt and completion are tokenized apart, so that no token spans the border that generation starts from.
    """
    turns = [message.model_dump() for message in prompt]
    head = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    tails = [_completion_text(tokenizer, turns, head, completion) for completion in completions]
    return Encoded(prompt=_ids(tokenizer, head), completions=[_ids(tokenizer, tail) for tail in tails])


def _completion_text(tokenizer: Any, turns: list[dict[str, Any]], head: str, completion: Sequence[Message]) -> str:
    full = tokenizer.apply_chat_template([*turns, *(message.model_dump() for message in completion)], tokenize=False)
    if not full.startswith(head):
        raise TrainingStop(
            ExitCode.DATA,
            "The base's chat template renders a prompt differently once an answer follows it, so that training and "
            "serving would differ: choose a base whose template keeps the prompt.",
        )
    tail = str(full[len(head) :])
    end = tail.rfind(tokenizer.eos_token)
    return tail[: end + len(tokenizer.eos_token)] if end >= 0 else tail + tokenizer.eos_token


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
