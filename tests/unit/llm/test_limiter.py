"""Additive increase, multiplicative decrease."""

import asyncio
import random

from shared.llm.errors import LlmAuthError, LlmRateLimitError, LlmTimeoutError
from shared.llm.limiter import AimdLimiter
from shared.llm.retry import RetryPolicy


def test_one_burst_halves_once_and_success_adds_one_a_round() -> None:
    async def run() -> None:
        limiter = AimdLimiter(8)
        epochs = [await limiter.acquire() for _ in range(8)]
        for epoch in epochs:
            limiter.limited(epoch, None)
            await limiter.release()
        assert limiter.limit == 4.0
        limiter.limited(await limiter.acquire(), None)
        assert limiter.limit == 2.0
        for _ in range(3):
            limiter.succeeded()
        assert 3.0 <= limiter.limit < 3.5
        for _ in range(200):
            limiter.succeeded()
        assert limiter.limit == 8.0

    asyncio.run(run())


def test_never_below_one() -> None:
    async def run() -> None:
        limiter = AimdLimiter(2)
        for _ in range(5):
            limiter.limited(await limiter.acquire(), None)
            await limiter.release()
        assert limiter.limit == 1.0
        await asyncio.wait_for(limiter.acquire(), 5)

    asyncio.run(run())


def test_places_are_bounded_by_the_limit() -> None:
    async def run() -> int:
        limiter, peak = AimdLimiter(3), 0

        async def call() -> None:
            nonlocal peak
            await limiter.acquire()
            peak = max(peak, limiter.in_flight)
            await asyncio.sleep(0.001)
            await limiter.release()

        await asyncio.gather(*(call() for _ in range(30)))
        assert limiter.in_flight == 0
        return peak

    assert asyncio.run(run()) == 3


def test_retry_after_closes_the_door_until_then() -> None:
    async def run() -> list[str]:
        now, order = [100.0], list[str]()
        limiter = AimdLimiter(4, clock=lambda: now[0])
        limiter.limited(await limiter.acquire(), 0.05)
        await limiter.release()

        async def late() -> None:
            await limiter.acquire()
            order.append("entered")

        task = asyncio.create_task(late())
        await asyncio.sleep(0.2)
        order.append("clock moves")
        now[0] += 1.0
        await task
        return order

    assert asyncio.run(run()) == ["clock moves", "entered"]


def test_waits_grow_are_jittered_and_bounded() -> None:
    policy, rng = RetryPolicy(tries=5, base_s=1.0, cap_s=4.0), random.Random(1)
    error = LlmTimeoutError("slow")
    for failures, highest in ((1, 2.0), (2, 4.0), (4, 4.0)):
        waits = [policy.wait_s(failures, error, rng) for _ in range(200)]
        assert all(wait is not None and 0.0 <= wait <= highest for wait in waits)
        assert max(wait for wait in waits if wait is not None) > 0.8 * highest
        assert min(wait for wait in waits if wait is not None) < 0.2 * highest
    assert policy.wait_s(5, error, rng) is None
    assert policy.wait_s(1, LlmAuthError("no"), rng) is None


def test_waits_honour_the_server() -> None:
    policy, rng = RetryPolicy(base_s=0.1, longest_wait_s=60.0), random.Random(1)
    wait = policy.wait_s(1, LlmRateLimitError("slow down", retry_after_s=30.0), rng)
    assert wait is not None
    assert 30.0 <= wait <= 30.2
    assert policy.wait_s(1, LlmRateLimitError("slow down", retry_after_s=61.0), rng) is None
    assert policy.wait_s(19, LlmRateLimitError("slow down"), rng) is not None
    assert policy.wait_s(20, LlmRateLimitError("slow down"), rng) is None
