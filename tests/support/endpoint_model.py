"""An endpoint in simulated time, to see what a pace makes of it in milliseconds: events on a heap, no threads."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shared.llm.concurrency import TICK_S, AdaptiveLimit, CallSlot

WIRE_S = 0.001
Takes = Callable[[int, float], bool]
Seconds = Callable[[random.Random, int], float]


def log_normal(mean_s: float, sigma: float = 0.6) -> Seconds:
    """Latencies of that mean, whatever the number of calls."""
    mu = math.log(mean_s) - sigma * sigma / 2
    return lambda rng, _open: rng.lognormvariate(mu, sigma)


def places(count: int) -> Takes:
    """A server that refuses the call beyond `count`."""
    return lambda open_calls, _now: open_calls < count


class Bucket:
    """A rate limit: `burst` calls at once, `rate` a second in the long run."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.left, self.at = rate, burst, burst, 0.0

    def __call__(self, _open: int, now: float) -> bool:
        self.left, self.at = min(self.burst, self.left + (now - self.at) * self.rate), now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


@dataclass
class EndpointModel:
    """`takes(open calls, now)` says whether a call is accepted, `seconds` how long its answer takes."""

    takes: Takes
    seconds: Seconds
    retry_after_s: float | None = None
    seed: int = 1
    now: float = 0.0
    open_calls: int = 0
    peak: int = 0
    refused: int = 0
    _heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    _number: int = 0

    def pace(self, most: int = 256, first: int = 1) -> AdaptiveLimit:
        """A pace on this endpoint's clock."""
        return AdaptiveLimit(most, first, clock=lambda: self.now)

    def run(self, pace: AdaptiveLimit, calls: int) -> float:
        """Seconds until all calls are answered; a refused one is made again within a second."""
        self.rng, self.paced, self.todo, self.left, begun = random.Random(self.seed), pace, calls, calls, self.now
        self._heap.clear()
        self._after(0.0, self._tick)
        while self.left:
            self.now, _, action, given = heapq.heappop(self._heap)
            action(*given)
            while self.todo and (call := pace.begin()) is not None:
                self.todo -= 1
                self._after(WIRE_S, self._arrive, call)
        return self.now - begun

    def _after(self, seconds: float, action: Callable[..., None], *given: Any) -> None:
        self._number += 1
        heapq.heappush(self._heap, (self.now + seconds, self._number, action, given))

    def _tick(self) -> None:
        if self.todo:
            self.paced.tick()
        self._after(TICK_S, self._tick)

    def _arrive(self, call: CallSlot) -> None:
        if not self.takes(self.open_calls, self.now):
            self._after(WIRE_S, self._refuse, call)
            return
        self.open_calls += 1
        self.peak = max(self.peak, self.open_calls)
        self._after(self.seconds(self.rng, self.open_calls), self._answer, call)

    def _answer(self, call: CallSlot) -> None:
        self.open_calls -= 1
        self._after(WIRE_S, self._receive, call)

    def _receive(self, call: CallSlot) -> None:
        self.left -= 1
        self.paced.succeeded(call)

    def _refuse(self, call: CallSlot) -> None:
        self.refused += 1
        self.paced.rejected(call, self.retry_after_s)
        self._after((self.retry_after_s or 0.0) + self.rng.random(), self._again)

    def _again(self) -> None:
        self.todo += 1


def flood_s(calls: int, width: int, seconds: Seconds, seed: int = 1) -> float:
    """How long `calls` take with exactly `width` of them in flight: the best of a server of that many places."""
    rng, ends = random.Random(seed), [0.0] * width
    for _ in range(calls):
        heapq.heapreplace(ends, ends[0] + seconds(rng, width))
    return max(ends)
