"""Bounded concurrency of an HTTP service: a number of slots, a short queue, and fair shares for named callers."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import LimitError, UnavailableError

CALLER_HEADER = "X-Sense-Caller"  # the id of the API key that the gateway calls for; absent without keys
CALLER_NAME_HEADER = "X-Sense-Caller-Name"


class CallerShareError(LimitError):
    """The caller's share is used up; other callers still get slots."""

    code = "key_busy"


class Slots:
    """`count` slots; at most `waiting` calls wait for one, none longer than `wait_s`.

    A named caller never holds all slots or all places of the queue, and waiting callers are served in turn. Calls
    without a name count as one caller without such limits. For one event loop.
    """

    def __init__(self, count: int, *, wait_s: float, waiting: int, what: str, busy: type[UnavailableError]) -> None:
        self.count, self.wait_s, self.most_waiting, self.what, self.busy = count, wait_s, waiting, what, busy
        # Three quarters, rounded up, and never all slots (of one slot, that one).
        self.share = max(1, min(count - 1, -(-count * 3 // 4)))
        self.waiting, self.free = 0, count
        self._held: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def taken(self, caller: str = "") -> AsyncIterator[None]:
        """Holds a slot. Raises `busy`, or `CallerShareError` if the caller's own calls are in the way."""
        await self._acquire(caller)
        try:
            yield
        finally:
            self._release(caller)

    def _may(self, caller: str) -> bool:
        return self.free > 0 and (not caller or self._held[caller] < self.share)

    def _take(self, caller: str) -> None:
        self.free -= 1
        self._held[caller] += 1

    async def _acquire(self, caller: str) -> None:
        queue = self._queues.get(caller, ())
        if not queue and self._may(caller):  # every other waiting caller has its share already
            self._take(caller)
            return
        # A named caller gets at most half of the queue.
        if caller and self.most_waiting and len(queue) >= max(1, self.most_waiting // 2):
            raise self._refusal(caller, f"and {len(queue)} of its calls wait already")
        if self.waiting >= self.most_waiting:
            raise self.busy(f"all {self.count} slots of {self.what} are taken, and {self.waiting} calls wait already")
        turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(turn)
        self.waiting += 1
        try:
            async with asyncio.timeout(self.wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the slot was granted at the same moment
                if isinstance(error, TimeoutError):
                    return
                self._release(caller)
                raise
            self._leave(caller, turn)
            if isinstance(error, TimeoutError):
                raise self._refusal(caller, f"for {self.wait_s} s") from None
            raise
        finally:
            self.waiting -= 1

    def _leave(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(caller)
        if queue is not None and turn in queue:
            queue.remove(turn)
        if queue is not None and not queue:
            del self._queues[caller]

    def _refusal(self, caller: str, how: str) -> LimitError | UnavailableError:
        if caller and self._held[caller] >= self.share:
            return CallerShareError(
                f"this key holds {self._held[caller]} of the {self.count} slots of {self.what}, and may hold no more, "
                f"{how}; wait for its own calls to end, or have the service given more slots"
            )
        return self.busy(f"all {self.count} slots of {self.what} are taken, {how}; try again in a moment")

    def _release(self, caller: str) -> None:
        self.free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        for waiting, queue in list(self._queues.items()):
            while queue and queue[0].done():  # cancelled, and about to leave the queue
                queue.popleft()
            if queue and self._may(waiting):
                queue.popleft().set_result(None)
                self._take(waiting)
                # Callers are served in turn.
                self._queues.move_to_end(waiting)
                return
