"""One event loop and one client an endpoint for all calls of a process, so that connections outlive a shard.

Otherwise every shard would begin with a handshake a call.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from shared.llm.call import open_client
from shared.llm.profiles import EndpointProfile

if TYPE_CHECKING:
    import openai

STORE_THREADS = 16  # answers that are read or recorded at once
IDLE_CLIENTS = 8


@dataclass
class Held:
    """A client and how many runs use it now."""

    client: "openai.AsyncOpenAI"
    users: int = 0


class Connections:
    """A loop in a thread of its own. Clients are touched on that loop alone."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="llm-store"))
        self._held: dict[str, Held] = {}
        threading.Thread(target=self.loop.run_forever, name="llm", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        """Runs `work` on the loop, from any thread; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    @asynccontextmanager
    async def client(self, profile: EndpointProfile) -> "AsyncIterator[openai.AsyncOpenAI]":
        """The endpoint's client."""
        key = profile.api_key.get_secret_value() if profile.api_key is not None else ""
        name = f"{profile.model_dump_json(exclude={'models'})} {key}"
        held = self._held.pop(name, None) or Held(open_client(profile))
        self._held[name] = held  # the last one used lies last
        held.users += 1
        try:
            yield held.client
        finally:
            held.users -= 1
            await self._close_idle()

    async def _close_idle(self) -> None:
        """Endpoints that are asked no more are forgotten, the longest unused first."""
        idle = [name for name, held in self._held.items() if not held.users]
        for name in idle[: max(0, len(idle) - IDLE_CLIENTS)]:
            await self._held.pop(name).client.close()


def connections() -> Connections:
    """Those of this process; a fork gets its own."""
    return _connections_of(os.getpid())


@lru_cache(maxsize=1)
def _connections_of(pid: int) -> Connections:
    return Connections()
