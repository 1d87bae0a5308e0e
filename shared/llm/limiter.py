"""Places for the calls of one event loop, under a pace that outlives it."""

import asyncio
from collections import deque
from threading import Lock

from shared.llm.pace import BLIND_STEP_S, Call, Pace
from shared.llm.profiles import EndpointProfile

TICK_S = BLIND_STEP_S / 2
_paces: dict[tuple[str, str, int, int], Pace] = {}
_paces_lock = Lock()


def pace_of(profile: EndpointProfile) -> Pace:
    """This process's pace for an endpoint: what one shard found out, the next one begins with."""
    key = (profile.name, profile.base_url, profile.max_concurrency, profile.start_concurrency)
    with _paces_lock:
        if key not in _paces:
            _paces[key] = Pace(profile.max_concurrency, profile.start_concurrency)
        return _paces[key]


class Limiter:
    """Callers wait in line for a place. Every place is given back by exactly one of the methods below `acquire`."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._line: deque[asyncio.Future[Call]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self) -> Call:
        """Waits for a place."""
        if not self._line and (call := self.pace.begin()) is not None:
            return call
        future: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        self._line.append(future)
        self._arm()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.failed(future.result(), overload=False)
            raise

    def succeeded(self, call: Call) -> None:
        """An answer came."""
        self.pace.succeeded(call)
        self._admit()

    def rejected(self, call: Call, retry_after_s: float | None) -> None:
        """A 429; a Retry-After holds back every new call."""
        self.pace.rejected(call, retry_after_s)
        self._admit()

    def failed(self, call: Call, *, overload: bool) -> None:
        """No answer; `overload` where the endpoint had too much to do."""
        self.pace.failed(call, overload=overload)
        self._admit()

    def _admit(self) -> None:
        while self._line:
            if self._line[0].done():  # cancelled while it waited
                self._line.popleft()
            elif (call := self.pace.begin()) is not None:
                self._line.popleft().set_result(call)
            else:
                return

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.pace.tick()
        self._admit()
        if self._line:
            self._arm()
