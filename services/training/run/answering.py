"""The policy answers questions that were set aside, while it is trained: greedy, as it will be served."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from services.training.run.rows import encode
from services.training.scores import Question

ANSWER_TOKENS = 128
AT_ONCE = 16


class Answerer:
    """Questions in, texts out. Training goes on as if nothing had been asked: no weight and no random state moves."""

    def __init__(self, tokenizer: Any, questions: Sequence[Question], *, bf16: bool) -> None:
        self.tokenizer, self.bf16 = tokenizer, bf16
        self.prompts = [(one.id, encode(tokenizer, one.prompt, []).prompt) for one in questions]

    def answers(self, model: Any) -> dict[str, str]:
        """Question id -> the text of the answer; prompts of similar length are answered together."""
        order = sorted(self.prompts, key=lambda one: len(one[1]))
        texts: dict[str, str] = {}
        with answering(model), torch.no_grad(), self._autocast(model):
            for begin in range(0, len(order), AT_ONCE):
                part = order[begin : begin + AT_ONCE]
                texts |= dict(
                    zip((name for name, _ in part), self._write(model, [ids for _, ids in part]), strict=True)
                )
        return texts

    def _autocast(self, model: Any) -> Any:
        return torch.autocast(model.device.type, torch.bfloat16, enabled=self.bf16)

    def _write(self, model: Any, prompts: Sequence[list[int]]) -> list[str]:
        """Prompts padded on the left, so that all answers begin at the same place."""
        width, pad = max(map(len, prompts)), self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(one)) + one for one in prompts], device=model.device)
        seen = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=model.device)
        written = model.generate(
            input_ids=ids,
            attention_mask=seen,
            do_sample=False,
            use_cache=True,
            max_new_tokens=ANSWER_TOKENS,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=pad,
            temperature=None,
            top_p=None,
            top_k=None,
        )
        texts: list[str] = self.tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
        return texts


@contextlib.contextmanager
def answering(model: Any) -> Iterator[None]:
    """Without dropout and recomputation, which belong to training."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
