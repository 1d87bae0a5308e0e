"""Answers of a local model in large batches, and official scores of them, for `make bench-gpu`."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.contracts.records import Message
from shared.models.tokenization import ensure_chat_template
from shared.sql.extraction import extract_sql

SENSE = Path(sys.executable).parent / "sense"
ANSWER_TOKENS = 160


class Answerer:
    """A merged model (or base) that answers prompts; greedy at temperature 0."""

    def __init__(self, folder: Path, device: str, batch: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.device, self.batch = device, batch
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        ensure_chat_template(self.tokenizer)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.model = model.to(device).eval()

    def ask(self, prompts: Sequence[Sequence[Message]], *, temperature: float = 0.0, seed: int = 0) -> list[str]:
        """One SQL a prompt, `SELECT` where an answer holds none; prompts of like length go together."""
        import torch

        texts = [self.render(prompt) for prompt in prompts]
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        answers = [""] * len(texts)
        torch.manual_seed(seed)
        for start in range(0, len(order), self.batch):
            part = order[start : start + self.batch]
            for index, answer in zip(part, self.generate([texts[index] for index in part], temperature), strict=True):
                answers[index] = " ".join((extract_sql(answer) or "SELECT").split())
        return answers

    def render(self, prompt: Sequence[Message]) -> str:
        """The prompt's text by the chat template."""
        turns = [message.model_dump() for message in prompt]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def generate(self, texts: list[str], temperature: float) -> list[str]:
        """New text after each prompt."""
        import torch

        batch = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        how: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            how |= {"temperature": temperature, "top_k": 0}
        with torch.no_grad():
            ids = self.model.generate(
                **batch, max_new_tokens=ANSWER_TOKENS, pad_token_id=self.tokenizer.pad_token_id, **how
            )
        found: list[str] = self.tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return found


def official_scores(folder: Path, name: str, golds: list[str], answers: list[str], data: Path) -> list[int]:
    """`ex` of every question by `sense evaluate` in official mode; `golds` are lines of a Spider gold file."""
    gold, pred, lines = (folder / f"{name}.{kind}" for kind in ("gold.sql", "pred.sql", "jsonl"))
    gold.write_text("".join(line + "\n" for line in golds))
    pred.write_text("".join(line + "\n" for line in answers))
    command = [str(SENSE), "evaluate", "--benchmark", "spider", "--gold", str(gold), "--pred", str(pred)]
    command += ["--db", str(data / "database"), "--metrics", "ex", "--per-question", str(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"sense evaluate failed: {done.stderr[-2000:]}")
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    return [int(row["ex"]) for row in sorted(rows, key=lambda row: row["index"])]
