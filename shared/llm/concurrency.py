"""How many calls may be in flight at once, measured by what the endpoint does (decision 0011).

`AdaptiveLimit` decides by a clock, without a loop or network; `Limiter` queues the callers of one event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from shared.llm.endpoints import EndpointProfile

BLIND_MOST = 64  # calls opened before the first answer, one every BLIND_STEP_S
BLIND_STEP_S = 0.04
COHORT = 64  # consecutive calls, whose median latency is one measurement
DEEPER = 1.5  # times as many calls in flight …
AHEAD = 3.0  # times the measured depth: no further before the next measurement
GAIN = 1.2  # … must give at least this many times the throughput
HELD = 1.1  # times the best depth, when more calls gave no more throughput
ALLOWED = 0.01  # share of 429s that is ignored while not probing
DEEPEST_CUT = 0.25
OVERLOADED = 0.8  # of the limit, after a timeout or a 503
SAME_WALL = 0.1  # how far apart two rejections may be and still show the same limit
PROBE_FIRST = 2.0  # mean latencies between a rejection and the first probe
PROBE_CALLS, PROBE_LAST = 128.0, 16.0  # in the end, calls and mean latencies between two probes
SMOOTH, DRIFT = 1 / 32, 1 / 8
UNKNOWN_S = 1.0  # assumed latency before the first answer


@dataclass(slots=True)
class Cohort:
    """Consecutive calls: how many were in flight, when the last one began, and the latencies known so far.

    Their median neither waits for the slowest calls nor favours the fast ones, as the first answers would.
    """

    drop: int = 0  # decreases before it: calls that span a decrease measure neither limit
    begun: int = 0
    depths: int = 0
    last: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def median(self, now: float) -> float | None:
        """The median once it is certain: half have answered, and the others have waited for longer."""
        if self.begun < COHORT or len(self.seconds) < COHORT // 2:
            return None
        middle = sorted(self.seconds)[COHORT // 2 - 1]
        return middle if now - self.last >= middle else None


@dataclass(frozen=True, slots=True)
class CallSlot:
    """When a slot was taken, and after how many decreases of the limit."""

    began: float
    epoch: int
    cohort: Cohort


class AdaptiveLimit:
    """Grows until the endpoint rejects calls (429) or more calls give no more throughput; then holds and rarely probes.

    `most` is the operator's limit, `first` the start. Safe between threads; lives as long as the process.
    """

    def __init__(self, most: int, first: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock = most, clock
        self.limit = float(min(first, most))
        self.in_flight = 0
        self.growing = True
        self.paused_until = 0.0
        self.latency_s = UNKNOWN_S
        self._lock = Lock()
        self._epoch = 0
        self._wall = float(most)  # where rejections last stopped growth
        self._refused = 0.0  # recent share of 429s
        self._stepped_at = clock()
        self._probe_at, self._probe_gap = 0.0, PROBE_FIRST
        self._floor = 1.0  # rejections of older calls do not lower the limit below this
        self._probed = False  # whether the last probe still stands
        self._answered = False
        self._drops, self._cohort = 0, Cohort()
        self._best_depth = self._best_rate = 0.0

    def begin(self) -> CallSlot | None:
        with self._lock:
            now = self.clock()
            if now < self.paused_until or self.in_flight >= int(self.limit):
                return None
            self.in_flight += 1
            return CallSlot(now, self._epoch, self._join(now))

    def tick(self) -> None:
        """Call this regularly while calls wait for a slot: it opens one more when it is time."""
        with self._lock:
            now = self.clock()
            if now < self.paused_until or self.in_flight < int(self.limit):
                self._stepped_at = now
            elif self.growing and self.limit < BLIND_MOST:
                steps = int((now - self._stepped_at) / BLIND_STEP_S)
                self._stepped_at += steps * BLIND_STEP_S
                # At most two at once: a tick that comes late must not release a burst.
                self._set(min(self.limit + min(steps, 2), BLIND_MOST))
            elif not self.growing and self.limit >= self._wall and now >= self._probe_at:
                self._probe(now)

    def succeeded(self, call: CallSlot) -> None:
        with self._lock:
            now = self.clock()
            full = self.in_flight >= int(self.limit)
            self.in_flight -= 1
            self._refused -= self._refused * SMOOTH
            self._measure(now - call.began, call.cohort, now)
            if self.growing and full and (not self._best_rate or self.limit < AHEAD * self._best_depth):
                self._set(self.limit + 1.0)
            elif self.limit < self._wall:  # recovers by one slot per round of answers
                self._set(min(self._wall, self.limit + 1.0 / self.limit))

    def rejected(self, call: CallSlot, retry_after_s: float | None) -> None:
        """Call this after a 429. The calls still in flight are as many as the server has slots for."""
        with self._lock:
            now = self.clock()
            self.in_flight -= 1
            self._refused += (1.0 - self._refused) * SMOOTH
            if retry_after_s:
                self.paused_until = max(self.paused_until, now + retry_after_s)
            accepted = min(self.limit, float(self.in_flight))
            if call.epoch != self._epoch:  # it began before the last decrease, which may have been too small
                self._set(max(self._floor, accepted))
                self._wall = min(self._wall, self.limit)
            elif self.growing or self._probed:
                self._new_epoch()
                self._hold(max(self._floor, accepted), now)
            elif self._refused > ALLOWED:  # calls that used to work are rejected: less room, or a rate limit
                self._new_epoch()
                self._hold(max(self._floor, accepted), now)
                self._set(self.limit * (1.0 - min(DEEPEST_CUT, self._refused)))
                self._probe_gap = PROBE_FIRST
                self._probe_at = now + PROBE_FIRST * self.latency_s

    def _new_epoch(self) -> None:
        """Calls in flight say something about the old limit; however many fail, they take at most half of it."""
        self._epoch += 1
        self._floor = max(1.0, self.limit / 2.0)

    def failed(self, call: CallSlot, *, overload: bool) -> None:
        """Call this if no answer came. `overload` (503 or a timeout) lowers the limit once for all calls in flight."""
        with self._lock:
            self.in_flight -= 1
            if overload and call.epoch == self._epoch:
                self._new_epoch()
                self.growing = False
                self._set(self.limit * OVERLOADED)

    def _hold(self, level: float, now: float) -> None:
        """Stops growth here; the more often the limit was found in the same place, the later it is probed again."""
        same = abs(level - self._wall) <= max(1.0, SAME_WALL * self._wall)
        last = max(PROBE_LAST, PROBE_CALLS / level)
        self._probe_gap = min(last, self._probe_gap * 2.0) if same else PROBE_FIRST
        self.growing = self._probed = False
        self._set(level)
        self._wall = self.limit
        self._probe_at = now + self._probe_gap * self.latency_s

    def _probe(self, now: float) -> None:
        """Allows one call more than is known to work; if that stands for a while, growth begins again."""
        self.growing, self._probed = self._probed, True
        self._probe_at = now + PROBE_FIRST * self.latency_s
        self._set(self.limit + 1.0)
        self._wall = max(self._wall, self.limit)

    def _join(self, now: float) -> Cohort:
        if self._cohort.begun == COHORT or self._cohort.drop != self._drops:
            self._cohort = Cohort(self._drops)
        self._cohort.begun += 1
        self._cohort.depths += self.in_flight
        self._cohort.last = now
        return self._cohort

    def _measure(self, seconds: float, cohort: Cohort, now: float) -> None:
        self.latency_s += (seconds - self.latency_s) * (SMOOTH if self._answered else 1.0)
        self._answered = True
        cohort.seconds.append(seconds)
        if cohort.drop == self._drops and (median := cohort.median(now)) is not None:
            cohort.begun = 0  # measured
            self._compare(cohort.depths / COHORT, median)

    def _compare(self, depth: float, seconds: float) -> None:
        """Calls in flight divided by latency is throughput (Little's law); without more of it, calls only queue."""
        rate = depth / max(seconds, 1e-6)
        deeper, flatter = depth >= DEEPER * self._best_depth, depth * DEEPER <= self._best_depth
        if not self._best_rate or (deeper and rate >= GAIN * self._best_rate) or (flatter and rate > self._best_rate):
            self._best_depth, self._best_rate = depth, rate
        elif deeper:
            self._hold(min(self.limit, HELD * self._best_depth), self.clock())
        elif not flatter:
            self._best_rate += (rate - self._best_rate) * DRIFT

    def _set(self, limit: float) -> None:
        # Small corrections leave the current measurement valid.
        self._drops += limit < (1.0 - SAME_WALL) * self.limit
        self.limit = min(float(self.most), max(1.0, limit))


TICK_S = BLIND_STEP_S / 2
_paces: dict[tuple[str, str, int, int], AdaptiveLimit] = {}
_paces_lock = Lock()


def endpoint_limit(profile: EndpointProfile) -> AdaptiveLimit:
    """One limit per endpoint and process, so that a shard starts with what the one before found out."""
    key = (profile.name, profile.base_url, profile.max_concurrency, profile.start_concurrency)
    with _paces_lock:
        if key not in _paces:
            _paces[key] = AdaptiveLimit(profile.max_concurrency, profile.start_concurrency)
        return _paces[key]


class Limiter:
    """Callers queue for a slot. Each slot is returned by exactly one of `succeeded`, `rejected` and `failed`."""

    def __init__(self, pace: AdaptiveLimit) -> None:
        self.pace = pace
        self._line: deque[asyncio.Future[CallSlot]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self) -> CallSlot:
        if not self._line and (call := self.pace.begin()) is not None:
            return call
        future: asyncio.Future[CallSlot] = asyncio.get_running_loop().create_future()
        self._line.append(future)
        self._arm()
        try:
            return await future
        except asyncio.CancelledError:
            # The slot arrived in the same moment as the cancellation: hand it back.
            if future.done() and not future.cancelled():
                self.failed(future.result(), overload=False)
            raise

    def succeeded(self, call: CallSlot) -> None:
        self.pace.succeeded(call)
        self._admit()

    def rejected(self, call: CallSlot, retry_after_s: float | None) -> None:
        self.pace.rejected(call, retry_after_s)
        self._admit()

    def failed(self, call: CallSlot, *, overload: bool) -> None:
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
