"""A line of callers in front of a pace, and the waits between tries."""

import asyncio
import random

from shared.llm.client import RetryPolicy
from shared.llm.concurrency import AdaptiveLimit, Limiter, endpoint_limit
from shared.llm.endpoints import EndpointProfile
from shared.llm.errors import LlmAuthError, LlmRateLimitError, LlmTimeoutError


def test_places_are_bounded_and_given_in_turn() -> None:
    async def run() -> tuple[int, list[int]]:
        limiter, peak, order = Limiter(AdaptiveLimit(3, 3)), 0, list[int]()

        async def call(number: int) -> None:
            nonlocal peak
            place = await limiter.acquire()
            order.append(number)
            peak = max(peak, limiter.pace.in_flight)
            await asyncio.sleep(0.001)
            limiter.succeeded(place)

        await asyncio.gather(*(call(number) for number in range(30)))
        assert limiter.pace.in_flight == 0
        return peak, order

    assert asyncio.run(run()) == (3, list(range(30)))


def test_a_caller_that_gives_up_in_line_takes_no_place() -> None:
    async def run() -> None:
        limiter = Limiter(AdaptiveLimit(1))
        first = await limiter.acquire()
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        limiter.failed(first, overload=False)
        waiting[1].cancel()  # its place has been given, and it has not run yet
        await asyncio.wait_for(waiting[2], 5)
        assert limiter.pace.in_flight == 1

    asyncio.run(run())


def test_the_line_moves_by_itself_after_a_retry_after() -> None:
    async def run() -> None:
        limiter = Limiter(AdaptiveLimit(4, 4))
        limiter.rejected(await limiter.acquire(), 0.1)
        await asyncio.wait_for(limiter.acquire(), 5)

    asyncio.run(run())


def test_a_process_has_one_pace_an_endpoint() -> None:
    profile = EndpointProfile(name="pace-of", base_url="http://x/v1")
    assert endpoint_limit(profile) is endpoint_limit(profile.model_copy())
    assert endpoint_limit(profile) is not endpoint_limit(profile.model_copy(update={"max_concurrency": 7}))


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
