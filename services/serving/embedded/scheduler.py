"""The child's work loop: takes requests, fills each model's batch, steps the batches in turn.

Requests join the batch of their model as soon as rows are free; the one that waited longest goes first, whatever its
model, so no model starves another.
"""

import queue
from collections.abc import Callable
from typing import Any

import numpy as np

from services.serving.embedded.decoding import DecodedSequence, DecodingBatch, SequenceGroup, make_sampler
from services.serving.embedded.model_cache import ModelCache
from services.serving.embedded.model_main import ThreadLimiter
from services.serving.embedded.model_process import FinishedChoice, GenerationTask
from services.serving.registry import ServedModel
from shared.errors import InvalidInputError, SenseError
from shared.models.shared_prefixes import common_prefix_length
from shared.models.tokenization import encode_chat

SendMessage = Callable[[dict[str, Any]], None]


class ActiveRequest:
    """A chat request in the child: its prompt, its rows, and what of them was sent."""

    def __init__(
        self, request_id: int, task: GenerationTask, prompt: tuple[int, ...], tokenizer: Any, send: SendMessage
    ) -> None:
        self.id = request_id
        self.task = task
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._send = send
        self._sent = [0] * task.n
        self.rows = [
            DecodedSequence(make_sampler(task.temperature, task.top_p, task.seed, index), task.max_tokens)
            for index in range(task.n)
        ]

    @property
    def arrival(self) -> SequenceGroup:
        return SequenceGroup(self.prompt, self.rows)

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

    def after_token(self, row: DecodedSequence) -> None:
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
            choices.append(FinishedChoice(index=index, text=text, finish_reason=row.finish or "stop").model_dump())
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

    def _index(self, row: DecodedSequence) -> int:
        return next(index for index, own in enumerate(self.rows) if own is row)

    def _stream(self, index: int, text: str) -> None:
        new = text[self._sent[index] :]
        if new:
            self._sent[index] = len(text)
            self._send({"event": "text", "id": self.id, "index": index, "text": new})

    def _text(self, row: DecodedSequence) -> tuple[str, bool]:
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


WAITING_LOOKAHEAD = 256  # waiting prompts looked at for what they share with those that begin

Inbox = queue.SimpleQueue[dict[str, Any]]


class BatchScheduler:
    """Runs on one thread; others only put messages into `inbox`."""

    def __init__(
        self, inbox: Inbox, models: ModelCache, room: tuple[int, int], send: SendMessage, cores: ThreadLimiter
    ) -> None:
        """`room`: rows, and tokens of prompts and answers, that are held at once."""
        self._inbox = inbox
        self._models = models
        self._rows, self._tokens = room
        self._cores = cores
        self._send = send
        self._waiting: list[ActiveRequest] = []
        self._running: dict[int, ActiveRequest] = {}
        self._answer_of: dict[int, ActiveRequest] = {}
        self._batches: dict[ServedModel, DecodingBatch] = {}

    def run(self) -> None:
        while True:
            self._take_messages()
            if self._waiting or self._running:
                self._cores.look()
                self._turn()

    def _take_messages(self) -> None:
        """Take all that came; wait for a message where there is nothing else to do."""
        while True:
            try:
                message = self._inbox.get(block=not (self._waiting or self._running))
            except queue.Empty:
                return
            if message["do"] == "chat":
                self._accept(message)
            elif message["do"] == "load":
                self._load(message)
            elif message["do"] == "cancel":
                self._cancel(message["id"])
            else:
                self._models.drop(message["name"])

    def _load(self, message: dict[str, Any]) -> None:
        try:
            loaded, _ = self._models.get(ServedModel.model_validate(message["model"]))
            self._send({"event": "loaded", "id": message["id"], "reference": loaded.reference.model_dump()})
        except Exception as error:
            self._refuse(message["id"], error)

    def _accept(self, message: dict[str, Any]) -> None:
        task = GenerationTask.model_validate(message["chat"])
        try:
            loaded, _ = self._models.get(task.model, task.reference)
            prompt = _prompt(loaded.tokenizer, task, loaded.llama.max_positions)
            task.max_tokens = min(task.max_tokens, loaded.llama.max_positions - len(prompt))
            self._waiting.append(ActiveRequest(message["id"], task, prompt, loaded.tokenizer, self._send))
        except Exception as error:
            self._refuse(message["id"], error)

    def _cancel(self, request_id: int) -> None:
        self._waiting = [answer for answer in self._waiting if answer.id != request_id]
        if request_id in self._running:
            self._running[request_id].cancel()

    def _turn(self) -> None:
        """One step of every batch, in which those begin who may."""
        joining = self._joining()
        for model in [*joining, *(model for model in self._batches if model not in joining)]:
            try:
                self._step(model, joining.get(model, []))
            except Exception as error:
                self._end(model, error)

    def _joining(self) -> dict[ServedModel, list[ActiveRequest]]:
        """Who joins now, by model."""
        joining: dict[ServedModel, list[ActiveRequest]] = {}
        while picked := self._next():
            for answer in picked:
                self._waiting.remove(answer)
                self._running[answer.id] = answer
            joining.setdefault(picked[0].task.model, []).extend(picked)
        return joining

    def _next(self) -> list[ActiveRequest]:
        """The one that waited longest, then those that share its model and most of its prompt's beginning."""
        if not self._waiting:
            return []
        head = self._waiting[0]
        same = [answer for answer in self._waiting if answer.task.model == head.task.model]
        free = self._rows - sum(answer.unfinished for answer in self._running.values())
        room = self._tokens - sum(answer.most_tokens for answer in self._running.values())
        if sum(answer.task.n for answer in same) > free or sum(answer.most_tokens for answer in same) > room:
            first = np.array(head.prompt)
            same.sort(key=lambda answer: -common_prefix_length(first, np.array(answer.prompt)))
        picked: list[ActiveRequest] = []
        for answer in [head, *(other for other in same if other is not head)]:
            alone = not self._running and not picked
            if answer.task.n > free or (answer.most_tokens > room and not alone):
                break
            picked.append(answer)
            free, room = free - answer.task.n, room - answer.most_tokens
        return picked

    def _step(self, model: ServedModel, arrivals: list[ActiveRequest]) -> None:
        batch = self._batches.get(model) or self._new_batch(arrivals[0].task)
        self._batches[model] = batch
        self._answer_of.update({id(row): answer for answer in arrivals for row in answer.rows})
        waiting = [answer.prompt for answer in self._waiting if answer.task.model == model][:WAITING_LOOKAHEAD]
        self._settle(batch.advance([answer.arrival for answer in arrivals], waiting))
        if not batch.rows:
            del self._batches[model]  # its keys and values

    def _new_batch(self, task: GenerationTask) -> DecodingBatch:
        loaded, store = self._models.get(task.model, task.reference)
        return DecodingBatch(loaded.llama, store, loaded.eos_token_ids, self._after_token)

    def _after_token(self, row: DecodedSequence) -> None:
        self._answer_of[id(row)].after_token(row)

    def _settle(self, finished: list[DecodedSequence]) -> None:
        for row in finished:
            answer = self._answer_of.pop(id(row))
            if answer.finished and self._running.pop(answer.id, None) is not None:
                answer.finish()

    def _end(self, model: ServedModel, error: Exception) -> None:
        """A failure ends the requests of its batch, each with its reason, and not the process."""
        for answer in [one for one in self._running.values() if one.task.model == model]:
            del self._running[answer.id]
            for row in answer.rows:
                self._answer_of.pop(id(row), None)
            self._refuse(answer.id, error)
        self._batches.pop(model, None)

    def _refuse(self, request_id: int, error: Exception) -> None:
        known = isinstance(error, SenseError)
        status = error.http_status if isinstance(error, SenseError) else 500
        code = error.code if isinstance(error, SenseError) else "engine_error"
        message = str(error) if known else f"The engine failed on this request: {type(error).__name__}: {error}"
        self._send({"event": "error", "id": request_id, "status": status, "code": code, "message": message})


def _prompt(tokenizer: Any, task: GenerationTask, longest: int) -> tuple[int, ...]:
    if task.prompt is not None:
        return _fitting(tokenizer(task.prompt).input_ids, longest)
    return _fitting(encode_chat(tokenizer, task.messages), longest)


def _fitting(tokens: list[int], longest: int) -> tuple[int, ...]:
    """Raises InvalidInputError for a prompt that leaves no room for an answer, or is none."""
    if len(tokens) >= longest:
        raise InvalidInputError(
            f"The prompt has {len(tokens)} tokens and the model takes {longest} with the answer: shorten it.",
            code="context_length_exceeded",
        )
    if len(tokens) < 2:
        raise InvalidInputError("The prompt has fewer than two tokens: give more text.")
    return tuple(tokens)
