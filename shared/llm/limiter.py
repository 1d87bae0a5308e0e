"""How many calls fly at once: additive increase, multiplicative decrease."""

import asyncio
import time
from collections.abc import Callable


class AimdLimiter:
    """Begins at `maximum`; a 429 halves the limit, as many successes as the limit is large add one.

    One burst of 429s halves once: calls that began before the last halving do not count again.
    A Retry-After holds back every new call. For one event loop.
    """

    def __init__(self, maximum: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum = maximum
        self.limit = float(maximum)
        self.in_flight = 0
        self._clock = clock
        self._epoch = 0
        self._resume_at = 0.0
        self._changed = asyncio.Condition()

    async def acquire(self) -> int:
        """Waits for a free place; gives the epoch, which the outcome is reported with."""
        async with self._changed:
            while True:
                pause = self._resume_at - self._clock()
                if pause > 0:
                    await self._wait(pause)
                elif self.in_flight >= int(self.limit):
                    await self._wait(None)
                else:
                    self.in_flight += 1
                    return self._epoch

    async def release(self) -> None:
        async with self._changed:
            self.in_flight -= 1
            self._changed.notify_all()

    def succeeded(self) -> None:
        self.limit = min(float(self.maximum), self.limit + 1.0 / self.limit)

    def limited(self, epoch: int, retry_after_s: float | None) -> None:
        """A call that began in `epoch` got a 429."""
        if retry_after_s:
            self._resume_at = max(self._resume_at, self._clock() + retry_after_s)
        if epoch == self._epoch:
            self._epoch += 1
            self.limit = max(1.0, self.limit / 2.0)

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return
