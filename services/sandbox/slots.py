"""Bounded concurrency of the HTTP service: so many at once, a few that wait a little, and no queue behind them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import UnavailableError


class BusyError(UnavailableError):
    """All slots are taken; trying again can help."""

    code = "sandbox_busy"


class Slots:
    """`count` may be held at once; at most `waiting` callers wait for one, none longer than `wait_s`."""

    def __init__(self, count: int, *, wait_s: float, waiting: int) -> None:
        self.count, self.wait_s, self.most_waiting = count, wait_s, waiting
        self.waiting = 0
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Holds a slot. Raises BusyError."""
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self.waiting >= self.most_waiting:
            raise BusyError(f"all {self.count} slots of the sandbox are taken, and {self.waiting} calls wait already")
        self.waiting += 1
        try:
            async with asyncio.timeout(self.wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise BusyError(f"all {self.count} slots of the sandbox were taken for {self.wait_s} s") from None
        finally:
            self.waiting -= 1
