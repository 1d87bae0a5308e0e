"""The child's work loop: takes requests, fills each model's batch, steps the batches in turn.

Requests join the batch of their model as soon as rows are free; the one that waited longest goes first, whatever its
model, so no model starves another.
"""

import queue
from typing import Any

import numpy as np

from services.serving.embedded.answers import Answer, Send
from services.serving.embedded.cores import Cores
from services.serving.embedded.decode import Batch, Row
from services.serving.embedded.models import Shelf
from services.serving.embedded.wire import ChatTask
from services.serving.protocol import ServedModel
from shared.errors import InvalidInputError, SenseError
from shared.models.beginnings import common
from shared.models.plain_text import chat_ids

FORESEEN = 256  # waiting prompts looked at for what they share with those that begin

Inbox = queue.SimpleQueue[dict[str, Any]]


class Batcher:
    """Runs on one thread; others only put messages into `inbox`."""

    def __init__(self, inbox: Inbox, shelf: Shelf, room: tuple[int, int], send: Send, cores: Cores) -> None:
        """`room`: rows, and tokens of prompts and answers, that are held at once."""
        self._inbox = inbox
        self._shelf = shelf
        self._rows, self._tokens = room
        self._cores = cores
        self._send = send
        self._waiting: list[Answer] = []
        self._running: dict[int, Answer] = {}
        self._answer_of: dict[int, Answer] = {}
        self._batches: dict[ServedModel, Batch] = {}

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
                self._shelf.drop(message["name"])

    def _load(self, message: dict[str, Any]) -> None:
        try:
            loaded, _ = self._shelf.get(ServedModel.model_validate(message["model"]))
            self._send({"event": "loaded", "id": message["id"], "golden": loaded.golden.model_dump()})
        except Exception as error:
            self._refuse(message["id"], error)

    def _accept(self, message: dict[str, Any]) -> None:
        task = ChatTask.model_validate(message["chat"])
        try:
            loaded, _ = self._shelf.get(task.model, task.golden)
            prompt = _prompt(loaded.tokenizer, task, loaded.llama.max_positions)
            task.max_tokens = min(task.max_tokens, loaded.llama.max_positions - len(prompt))
            self._waiting.append(Answer(message["id"], task, prompt, loaded.tokenizer, self._send))
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

    def _joining(self) -> dict[ServedModel, list[Answer]]:
        """Who joins now, by model."""
        joining: dict[ServedModel, list[Answer]] = {}
        while picked := self._next():
            for answer in picked:
                self._waiting.remove(answer)
                self._running[answer.id] = answer
            joining.setdefault(picked[0].task.model, []).extend(picked)
        return joining

    def _next(self) -> list[Answer]:
        """The one that waited longest, then those that share its model and most of its prompt's beginning."""
        if not self._waiting:
            return []
        head = self._waiting[0]
        same = [answer for answer in self._waiting if answer.task.model == head.task.model]
        free = self._rows - sum(answer.unfinished for answer in self._running.values())
        room = self._tokens - sum(answer.most_tokens for answer in self._running.values())
        if sum(answer.task.n for answer in same) > free or sum(answer.most_tokens for answer in same) > room:
            first = np.array(head.prompt)
            same.sort(key=lambda answer: -common(first, np.array(answer.prompt)))
        picked: list[Answer] = []
        for answer in [head, *(other for other in same if other is not head)]:
            alone = not self._running and not picked
            if answer.task.n > free or (answer.most_tokens > room and not alone):
                break
            picked.append(answer)
            free, room = free - answer.task.n, room - answer.most_tokens
        return picked

    def _step(self, model: ServedModel, arrivals: list[Answer]) -> None:
        batch = self._batches.get(model) or self._new_batch(arrivals[0].task)
        self._batches[model] = batch
        self._answer_of.update({id(row): answer for answer in arrivals for row in answer.rows})
        waiting = [answer.prompt for answer in self._waiting if answer.task.model == model][:FORESEEN]
        self._settle(batch.advance([answer.arrival for answer in arrivals], waiting))
        if not batch.rows:
            del self._batches[model]  # its keys and values

    def _new_batch(self, task: ChatTask) -> Batch:
        loaded, store = self._shelf.get(task.model, task.golden)
        return Batch(loaded.llama, store, loaded.ends, self._after_token)

    def _after_token(self, row: Row) -> None:
        self._answer_of[id(row)].after_token(row)

    def _settle(self, finished: list[Row]) -> None:
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


def _prompt(tokenizer: Any, task: ChatTask, longest: int) -> tuple[int, ...]:
    if task.prompt is not None:
        return _fitting(tokenizer(task.prompt).input_ids, longest)
    return _fitting(chat_ids(tokenizer, task.messages), longest)


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
