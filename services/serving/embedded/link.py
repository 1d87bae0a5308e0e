"""The HTTP process's end of the child: start it when needed, route its answers, notice its death."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from typing import Any

from services.serving.embedded.wire import ChatTask
from services.serving.protocol import ServedModel
from shared.errors import UnavailableError
from shared.processes.lifecycle import without_secrets

LINE_LIMIT = 64 * 1024 * 1024  # bytes; the longest line is a request's whole answer
FINAL = ("done", "error", "loaded")


def _child_environment() -> dict[str, str]:
    """Threads that wait at a barrier spin a little and then sleep.

    Sleeping at once makes a step of 16 rows take 86 ms in place of 58 (two idle cores); spinning for long makes it
    several times slower next to a busy process, until the engine has given that core up.
    """
    bounds = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
    return {**bounds, "TOKENIZERS_PARALLELISM": "false", **without_secrets(os.environ)}


class Link:
    """Owns at most one child. Every method runs on the HTTP process's event loop."""

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
        """How many are in flight."""
        return len(self._flows)

    def chat(self, task: ChatTask) -> AsyncGenerator[dict[str, Any], None]:
        """The child's messages for one request, the last being `done` or `error`."""
        return self._ask({"do": "chat", "chat": task.model_dump()})

    async def load(self, model: ServedModel) -> dict[str, Any]:
        """Has the weights in memory: `loaded` with their golden marks, or `error`."""
        async with contextlib.aclosing(self._ask({"do": "load", "model": model.model_dump()})) as flow:
            return await anext(flow)

    async def _ask(self, asked: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Leaving early cancels the request. Raises UnavailableError where the child died or was released meanwhile."""
        child = await self._ensure()
        self._next_id += 1
        request_id, flow = self._next_id, asyncio.Queue[dict[str, Any]]()
        self._flows[request_id] = flow
        message: dict[str, Any] = {"event": "none"}
        try:
            await self._send(child, {**asked, "id": request_id})
            while message["event"] not in FINAL:
                message = await flow.get()
                if message["event"] == "gone":
                    raise UnavailableError(
                        "The engine's model process ended during this request: send it again.", code="engine_died"
                    )
                yield message
        finally:
            self._flows.pop(request_id, None)
            if message["event"] not in (*FINAL, "gone"):
                await self._send(child, {"do": "cancel", "id": request_id})

    async def forget(self, name: str) -> None:
        """Drop a model's weights, where a child holds them."""
        if self._child is not None and self.child_pid is not None:
            await self._send(self._child, {"do": "unload", "name": name})

    async def release(self) -> None:
        """End the child and wait until the system has its memory back; requests in flight are told."""
        async with self._starting:
            await self._end()

    async def renew(self) -> None:
        """As `release`, and start a child without weights: importing torch is most of what the next model waits for."""
        async with self._starting:
            await self._end()
            await self._start()

    async def _end(self) -> None:
        child, reader = self._child, self._reader
        if child is None or reader is None:
            return
        if child.returncode is None:
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
        command = (sys.executable, "-m", "services.serving.embedded.child")
        child = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT, env=_child_environment()
        )
        self._child, self._reader = child, asyncio.create_task(self._read(child))
        return child

    async def _send(self, child: Process, message: dict[str, Any]) -> None:
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(message).encode() + b"\n")
            await child.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return  # the reader sees the end of the child and tells every request

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
        for flow in self._flows.values():
            flow.put_nowait({"event": "gone"})
