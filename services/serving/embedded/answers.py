"""One request's rows as they are written: text, stop strings, streaming, the final message."""

from collections.abc import Callable
from typing import Any

from services.serving.embedded.decode import Arrival, Row
from services.serving.embedded.sampling import make_sampler
from services.serving.embedded.wire import ChatTask, Choice

Send = Callable[[dict[str, Any]], None]


class Answer:
    """A chat request in the child: its prompt, its rows, and what of them was sent."""

    def __init__(self, request_id: int, task: ChatTask, prompt: tuple[int, ...], tokenizer: Any, send: Send) -> None:
        self.id = request_id
        self.task = task
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._send = send
        self._sent = [0] * task.n
        self.rows = [
            Row(make_sampler(task.temperature, task.top_p, task.seed, index), task.max_tokens)
            for index in range(task.n)
        ]

    @property
    def arrival(self) -> Arrival:
        return Arrival(self.prompt, self.rows)

    @property
    def most_tokens(self) -> int:
        """Of the prompt and all rows, whose keys and values may be held."""
        return len(self.prompt) + self.task.n * self.task.max_tokens

    @property
    def unfinished(self) -> int:
        return sum(row.finish is None for row in self.rows)

    @property
    def finished(self) -> bool:
        return not self.unfinished

    def cancel(self) -> None:
        for row in self.rows:
            row.finish = row.finish or "cancelled"

    def after_token(self, row: Row) -> None:
        """Look for a stop string, send new text where the request streams."""
        if not self.task.stop and not self.task.stream:
            return
        text, stopped = self._text(row)
        if stopped:
            row.finish = "stop"
        if self.task.stream:
            self._stream(self._index(row), text if stopped else text[: self._safe(text)])

    def finish(self) -> None:
        """Send what is left of a stream and the final message."""
        choices = []
        for index, row in enumerate(self.rows):
            text, _ = self._text(row)
            if self.task.stream:
                self._stream(index, text)
            choices.append(Choice(index=index, text=text, finish_reason=row.finish or "stop").model_dump())
        written = sum(len(row.tokens) for row in self.rows)
        self._send(
            {
                "event": "done",
                "id": self.id,
                "choices": choices,
                "prompt_tokens": len(self.prompt),
                "completion_tokens": written,
            }
        )

    def _index(self, row: Row) -> int:
        return next(index for index, own in enumerate(self.rows) if own is row)

    def _stream(self, index: int, text: str) -> None:
        new = text[self._sent[index] :]
        if new:
            self._sent[index] = len(text)
            self._send({"event": "text", "id": self.id, "index": index, "text": new})

    def _text(self, row: Row) -> tuple[str, bool]:
        """The row's text, cut before the first stop string, and whether there was one."""
        text = str(self._tokenizer.decode(row.tokens, skip_special_tokens=True))
        places = [place for place in (text.find(stop) for stop in self.task.stop) if place >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def _safe(self, text: str) -> int:
        """How much may be sent now: not half a character, nor what may become a stop string."""
        end = len(text) - 1 if text.endswith("\ufffd") else len(text)
        for stop in self.task.stop:
            for size in range(min(len(stop) - 1, end), 0, -1):
                if text[:end].endswith(stop[:size]):
                    end -= size
                    break
        return end
