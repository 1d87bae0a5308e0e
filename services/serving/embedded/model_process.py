"""The model process as the HTTP process sees it: starts it when needed, routes its messages, notices its death.

The two exchange one JSON object per line over the child's stdin and stdout:

To the child:   {"do": "chat", "id": 7, "chat": {...}}, {"do": "cancel", "id": 7}, {"do": "unload", "name": "m"},
                {"do": "load", "id": 8, "model": {...}}
From the child: {"event": "ready"}, {"event": "memory", "models": [...]},
                {"event": "text", "id": 7, "index": 0, "text": "SEL"}       (only if the request streams)
                {"event": "done", "id": 7, "choices": [...], "prompt_tokens": 9, "completion_tokens": 4}
                {"event": "loaded", "id": 8, "reference": {...}}
                {"event": "error", "id": 7, "status": 422, "code": "...", "message": "..."}
"""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel

from services.serving.registry import ReferenceLogprobs, ServedModel
from shared.errors import UnavailableError
from shared.processes.lifecycle import without_secrets

MAX_LINE_BYTES = 64 * 1024 * 1024  # the longest line is the whole answer to a request
FINAL_EVENTS = ("done", "error", "loaded")


class GenerationTask(BaseModel):
    """A checked request with every default filled in.

    `prompt` is continued as it stands; without it, `messages` go through the chat template. A fresh load of the model
    must match `reference`.
    """

    model: ServedModel
    reference: ReferenceLogprobs | None = None
    messages: list[dict[str, str]]
    prompt: str | None = None
    n: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop: list[str]
    stream: bool


class FinishedChoice(BaseModel):
    index: int
    text: str
    finish_reason: str


def _child_environment() -> dict[str, str]:
    """Threads that wait at a barrier spin briefly and then sleep.

    If they sleep at once, a step of 16 sequences takes 86 ms instead of 58 ms (two idle cores). If they spin for long,
    it is several times slower beside a busy process, until the engine gives up that core.
    """
    bounds = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
    return {**bounds, "TOKENIZERS_PARALLELISM": "false", **without_secrets(os.environ)}


class ModelProcess:
    """Owns at most one child process. Every method runs on the event loop of the HTTP process."""

    def __init__(self) -> None:
        self._child: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._flows: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._next_id = 0
        self.in_memory: list[str] = []

    @property
    def child_pid(self) -> int | None:
        return None if self._child is None or self._child.returncode is not None else self._child.pid

    @property
    def requests(self) -> int:
        return len(self._flows)

    def chat(self, task: GenerationTask) -> AsyncGenerator[dict[str, Any], None]:
        """The messages for one request; the last one is `done` or `error`."""
        return self._request({"do": "chat", "chat": task.model_dump()})

    async def load(self, model: ServedModel) -> dict[str, Any]:
        """Loads the weights: `loaded` with their reference log-probabilities, or `error`."""
        async with contextlib.aclosing(self._request({"do": "load", "model": model.model_dump()})) as flow:
            return await anext(flow)

    async def _request(self, command: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Leaving early cancels the request. Raises UnavailableError if the child died or was released meanwhile."""
        child = await self._ensure()
        self._next_id += 1
        request_id, flow = self._next_id, asyncio.Queue[dict[str, Any]]()
        self._flows[request_id] = flow
        message: dict[str, Any] = {"event": "none"}
        try:
            await self._send(child, {**command, "id": request_id})
            while message["event"] not in FINAL_EVENTS:
                message = await flow.get()
                if message["event"] == "gone":
                    raise UnavailableError(
                        "The engine's model process ended during this request: send it again.", code="engine_died"
                    )
                yield message
        finally:
            self._flows.pop(request_id, None)
            if message["event"] not in (*FINAL_EVENTS, "gone"):
                await self._send(child, {"do": "cancel", "id": request_id})

    async def forget(self, name: str) -> None:
        if self._child is not None and self.child_pid is not None:
            await self._send(self._child, {"do": "unload", "name": name})

    async def release(self) -> None:
        """Ends the child, which gives its memory back; requests in flight get an error."""
        async with self._starting:
            await self._end()

    async def restart(self) -> None:
        """Releases, and starts a child without weights: most of the time to the next model is importing torch."""
        async with self._starting:
            await self._end()
            await self._start()

    async def _end(self) -> None:
        child, reader = self._child, self._reader
        if child is None or reader is None:
            return
        if child.returncode is None:
            # the child has nothing to save
            child.kill()
        await child.wait()
        await reader

    async def _ensure(self) -> Process:
        async with self._starting:
            child, reader = self._child, self._reader
            if child is None or child.returncode is not None or reader is None or reader.done():
                child = await self._start()
            return child

    async def _start(self) -> Process:
        command = (sys.executable, "-m", "services.serving.embedded.model_main")
        child = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES, env=_child_environment()
        )
        self._child, self._reader = child, asyncio.create_task(self._read(child))
        return child

    async def _send(self, child: Process, message: dict[str, Any]) -> None:
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(message).encode() + b"\n")
            await child.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return  # the reader sees the end of the child and ends every request

    async def _read(self, child: Process) -> None:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            message = json.loads(line)
            if message["event"] == "memory":
                self.in_memory = message["models"]
            elif message.get("id") in self._flows:
                self._flows[message["id"]].put_nowait(message)
        await child.wait()
        self.in_memory = []
        # requests in flight would wait for ever
        for flow in self._flows.values():
            flow.put_nowait({"event": "gone"})
