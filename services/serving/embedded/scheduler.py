"""The batch scheduler of the model process: admits requests to the running batch of their model and steps the batches.

A request joins as soon as there is room for its sequences. The one that has waited longest goes first, whatever its
model, so that no model starves another.
"""

import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from services.serving.embedded.decoding import DecodedSequence, DecodingBatch, SequenceGroup, make_sampler
from services.serving.embedded.model_cache import ModelCache
from services.serving.embedded.model_process import FinishedChoice, GenerationTask
from services.serving.registry import ServedModel
from shared.errors import InvalidInputError, SenseError
from shared.models.shared_prefixes import common_prefix_length
from shared.models.tokenization import encode_chat

WAITING_LOOKAHEAD = 256  # waiting prompts that are searched for prefixes shared with those that begin
CHECK_EVERY_S = 0.5
PROC_STAT = Path("/proc/stat")
SendMessage = Callable[[dict[str, Any]], None]
Inbox = queue.SimpleQueue[dict[str, Any]]


class ActiveRequest:
    """A request in the model process: its prompt, its sequences, and how much of their text was sent."""

    def __init__(
        self, request_id: int, task: GenerationTask, prompt: tuple[int, ...], tokenizer: Any, send: SendMessage
    ) -> None:
        self.id = request_id
        self.task = task
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._send = send
        self._sent = [0] * task.n
        self.sequences = [
            DecodedSequence(make_sampler(task.temperature, task.top_p, task.seed, index), task.max_tokens)
            for index in range(task.n)
        ]

    @property
    def max_tokens(self) -> int:
        """Tokens of the prompt and all sequences whose keys and values may be held."""
        return len(self.prompt) + self.task.n * self.task.max_tokens

    @property
    def unfinished(self) -> int:
        return sum(one.finish is None for one in self.sequences)

    def cancel(self) -> None:
        for sequence in self.sequences:
            sequence.finish = sequence.finish or "cancelled"

    def after_token(self, sequence: DecodedSequence) -> None:
        if not self.task.stop and not self.task.stream:
            return
        text, stopped = self._text(sequence)
        if stopped:
            sequence.finish = "stop"
        if self.task.stream:
            index = next(index for index, one in enumerate(self.sequences) if one is sequence)
            self._stream(index, text if stopped else text[: self._sendable(text)])

    def finish(self) -> None:
        choices = []
        for index, sequence in enumerate(self.sequences):
            text, _ = self._text(sequence)
            if self.task.stream:
                self._stream(index, text)
            reason = sequence.finish or "stop"
            choices.append(FinishedChoice(index=index, text=text, finish_reason=reason).model_dump())
        written = sum(len(one.tokens) for one in self.sequences)
        counts = {"prompt_tokens": len(self.prompt), "completion_tokens": written}
        self._send({"event": "done", "id": self.id, "choices": choices, **counts})

    def _stream(self, index: int, text: str) -> None:
        new = text[self._sent[index] :]
        if new:
            self._sent[index] = len(text)
            self._send({"event": "text", "id": self.id, "index": index, "text": new})

    def _text(self, sequence: DecodedSequence) -> tuple[str, bool]:
        """The text before the first stop string, and whether there was one."""
        text = str(self._tokenizer.decode(sequence.tokens, skip_special_tokens=True))
        places = [place for place in (text.find(stop) for stop in self.task.stop) if place >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def _sendable(self, text: str) -> int:
        """How much of the text may be sent: no half characters, and nothing that may become a stop string."""
        # a token may end in the middle of a character; the tokenizer decodes such bytes as U+FFFD
        end = len(text) - 1 if text.endswith("\ufffd") else len(text)
        for stop in self.task.stop:
            for size in range(min(len(stop) - 1, end), 0, -1):
                if text[:end].endswith(stop[:size]):
                    end -= size
                    break
        return end


class BatchScheduler:
    """Runs on one thread; other threads only put messages into `inbox`."""

    def __init__(
        self, inbox: Inbox, models: ModelCache, room: tuple[int, int], send: SendMessage, threads: "ThreadLimiter"
    ) -> None:
        """`room`: how many sequences, and tokens of prompts and answers, are held at once."""
        self._inbox = inbox
        self._models = models
        self._max_sequences, self._max_tokens = room
        self._threads = threads
        self._send = send
        self._waiting: list[ActiveRequest] = []
        self._running: dict[int, ActiveRequest] = {}
        self._request_of: dict[int, ActiveRequest] = {}  # by the id() of a sequence
        self._batches: dict[ServedModel, DecodingBatch] = {}

    def run(self) -> None:
        while True:
            self._take_messages()
            if self._waiting or self._running:
                self._threads.adapt()
                self._step_batches()

    def _take_messages(self) -> None:
        """Handles all messages; waits for one if there is nothing else to do."""
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
            prompt = encode_prompt(loaded.tokenizer, task, loaded.llama.max_positions)
            # an answer ends at the model's last position
            task.max_tokens = min(task.max_tokens, loaded.llama.max_positions - len(prompt))
            self._waiting.append(ActiveRequest(message["id"], task, prompt, loaded.tokenizer, self._send))
        except Exception as error:
            self._refuse(message["id"], error)

    def _cancel(self, request_id: int) -> None:
        self._waiting = [one for one in self._waiting if one.id != request_id]
        if request_id in self._running:
            self._running[request_id].cancel()

    def _step_batches(self) -> None:
        """Steps every batch once, together with the requests that join it."""
        joining: dict[ServedModel, list[ActiveRequest]] = {}
        while picked := self._pick_requests():
            for request in picked:
                self._waiting.remove(request)
                self._running[request.id] = request
            joining.setdefault(picked[0].task.model, []).extend(picked)
        for model in [*joining, *(model for model in self._batches if model not in joining)]:
            try:
                self._step(model, joining.get(model, []))
            except Exception as error:
                self._fail_batch(model, error)

    def _pick_requests(self) -> list[ActiveRequest]:
        """The request that has waited longest, then those that share its model and most of its prompt's prefix."""
        if not self._waiting:
            return []
        head = self._waiting[0]
        same = [one for one in self._waiting if one.task.model == head.task.model]
        free = self._max_sequences - sum(one.unfinished for one in self._running.values())
        room = self._max_tokens - sum(one.max_tokens for one in self._running.values())
        # not all fit: take those that share most with the first, whose prefix is computed once
        if sum(one.task.n for one in same) > free or sum(one.max_tokens for one in same) > room:
            first = np.array(head.prompt)
            same.sort(key=lambda one: -common_prefix_length(first, np.array(one.prompt)))
        picked: list[ActiveRequest] = []
        for request in [head, *(one for one in same if one is not head)]:
            # a request larger than the whole budget runs alone; otherwise it would wait for ever
            alone = not self._running and not picked
            if request.task.n > free or (request.max_tokens > room and not alone):
                break
            picked.append(request)
            free, room = free - request.task.n, room - request.max_tokens
        return picked

    def _step(self, model: ServedModel, arrivals: list[ActiveRequest]) -> None:
        batch = self._batches.get(model)
        if batch is None:
            loaded, prefixes = self._models.get(model, arrivals[0].task.reference)
            batch = DecodingBatch(loaded.llama, prefixes, loaded.eos_token_ids, self._after_token)
        self._batches[model] = batch
        self._request_of.update({id(sequence): one for one in arrivals for sequence in one.sequences})
        waiting = [one.prompt for one in self._waiting if one.task.model == model][:WAITING_LOOKAHEAD]
        for sequence in batch.advance([SequenceGroup(one.prompt, one.sequences) for one in arrivals], waiting):
            request = self._request_of.pop(id(sequence))
            if not request.unfinished and self._running.pop(request.id, None) is not None:
                request.finish()
        if not batch.sequences:
            del self._batches[model]  # frees its keys and values

    def _after_token(self, sequence: DecodedSequence) -> None:
        self._request_of[id(sequence)].after_token(sequence)

    def _fail_batch(self, model: ServedModel, error: Exception) -> None:
        """A failure ends the requests of its batch, each with the reason, and not the process."""
        for request in [one for one in self._running.values() if one.task.model == model]:
            del self._running[request.id]
            for sequence in request.sequences:
                self._request_of.pop(id(sequence), None)
            self._refuse(request.id, error)
        self._batches.pop(model, None)

    def _refuse(self, request_id: int, error: Exception) -> None:
        status, code = 500, "engine_error"
        message = f"The engine failed on this request: {type(error).__name__}: {error}"
        if isinstance(error, SenseError):
            status, code, message = error.http_status, error.code, str(error)
        self._send({"event": "error", "id": request_id, "status": status, "code": code, "message": message})


def encode_prompt(tokenizer: Any, task: GenerationTask, longest: int) -> tuple[int, ...]:
    """Raises InvalidInputError for a prompt that is empty or leaves no room for an answer."""
    if task.prompt is not None:
        tokens = tokenizer(task.prompt).input_ids
    else:
        tokens = encode_chat(tokenizer, task.messages)
    if len(tokens) >= longest:
        raise InvalidInputError(
            f"The prompt has {len(tokens)} tokens and the model takes {longest} with the answer: shorten it.",
            code="context_length_exceeded",
        )
    if len(tokens) < 2:
        raise InvalidInputError("The prompt has fewer than two tokens: give more text.")
    return tuple(tokens)


class ThreadLimiter:
    """Calls `use` with a new thread count, at most `limit`, when the load of other processes changes.

    Two threads on two cores are forty times slower than one (measured) while another process holds a core and idle
    threads spin; so the engine takes only the cores that others leave free.
    """

    def __init__(self, limit: int, use: Callable[[int], None]) -> None:
        self._limit = limit
        self._use = use
        self._threads = limit
        self._seen = (time.monotonic(), busy_seconds(), time.process_time())
        use(limit)

    def adapt(self) -> None:
        now = (time.monotonic(), busy_seconds(), time.process_time())
        wall, busy, own = (new - old for new, old in zip(now, self._seen, strict=True))
        # shorter spans hold too few clock ticks to compare
        if wall < CHECK_EVERY_S:
            return
        self._seen = now
        threads = free_threads(self._limit, os.cpu_count() or 1, (busy - own) / wall)
        if threads != self._threads:
            self._threads = threads
            self._use(threads)


def free_threads(limit: int, cores: int, used_by_others: float) -> int:
    """At least one thread; `used_by_others` is in cores."""
    return max(1, min(limit, round(cores - max(0.0, used_by_others))))


def busy_seconds() -> float:
    """CPU time that all processes have used since boot; 0 if the system does not say."""
    try:
        fields = PROC_STAT.read_text("ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
