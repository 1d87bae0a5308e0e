"""The pace against endpoints in simulated time: what it finds, what it costs. Decision 0011 tells why."""

import random

import pytest

from shared.llm.concurrency import AdaptiveLimit
from tests.support.endpoint_model import Bucket, EndpointModel, flood_s, log_normal, places

TWO_SECONDS = log_normal(2.0)


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize("count", [4, 8, 16, 32, 50, 64, 100])
def test_a_number_of_places_is_found_and_used(count: int, retry_after_s: float | None) -> None:
    server = EndpointModel(places(count), TWO_SECONDS, retry_after_s)
    pace = server.pace()
    took = server.run(pace, 3000)
    assert flood_s(3000, count, TWO_SECONDS) / took > 0.94
    assert server.refused / (3000 + server.refused) <= 0.02
    assert count - 1 <= pace.limit <= count + 1


def test_what_was_found_is_there_for_the_next_shard() -> None:
    server = EndpointModel(places(50), TWO_SECONDS)
    pace = server.pace()
    server.run(pace, 500)
    before = server.refused
    assert flood_s(300, 50, TWO_SECONDS) / server.run(pace, 300) > 0.9
    assert server.refused - before <= 6


def test_a_lost_and_a_regained_capacity_are_noticed() -> None:
    server = EndpointModel(lambda open_calls, now: open_calls < (20 if 30 < now < 60 else 50), TWO_SECONDS)
    pace = server.pace()
    best = 30 * 25 + 30 * 10
    took = server.run(pace, 3000)
    assert took < 1.15 * (60 + (3000 - best) / 25)
    assert server.refused / 3000 < 0.03
    assert pace.limit >= 49


@pytest.mark.parametrize(("workers", "highest"), [(1, 110), (16, 200)])
def test_calls_that_would_only_queue_are_not_made(workers: int, highest: int) -> None:
    """A server without 429s that works on a few at a time: throughput says when to stop, not the bound of 256."""
    server = EndpointModel(
        lambda _open, _now: True, lambda rng, depth: rng.lognormvariate(-2, 0.5) * max(1.0, depth / workers)
    )
    pace = server.pace()
    server.run(pace, 4000)
    assert server.peak <= highest
    assert pace.limit <= highest


def test_a_server_that_takes_all_gets_all() -> None:
    server = EndpointModel(lambda _open, _now: True, TWO_SECONDS)
    pace = server.pace(most=200)
    server.run(pace, 6000)
    assert server.peak == 200


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize(("rate", "burst"), [(5, 5), (5, 60), (20, 20)])
def test_a_rate_limit_is_used_and_not_hammered(rate: int, burst: int, retry_after_s: float | None) -> None:
    server = EndpointModel(Bucket(rate, burst), TWO_SECONDS, retry_after_s)
    took = server.run(server.pace(), 1000)
    assert took < 1.35 * 1000 / rate
    assert server.refused / (1000 + server.refused) < 0.15


def test_429s_by_chance_do_not_stop_the_work() -> None:
    chance = random.Random(5)
    server = EndpointModel(lambda open_calls, _now: open_calls < 50 and chance.random() > 0.02, TWO_SECONDS)
    pace = server.pace()
    assert server.run(pace, 1000) < 4 * flood_s(1000, 50, TWO_SECONDS)
    assert pace.limit > 10


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_growth_begins_at_one_call_and_needs_callers_that_wait() -> None:
    clock = Clock()
    pace = AdaptiveLimit(256, clock=clock)
    call = pace.begin()
    assert call is not None and pace.begin() is None
    for _ in range(100):
        clock.now += 0.02
        pace.tick()
    assert pace.limit == 2.0  # one place more, and nobody took it
    while pace.begin() is not None or pace.limit < 20:
        clock.now += 0.02
        pace.tick()
    pace.succeeded(call)


def test_the_operators_bound_holds() -> None:
    server = EndpointModel(lambda _open, _now: True, TWO_SECONDS)
    server.run(server.pace(most=3), 200)
    assert server.peak == 3


def test_retry_after_closes_the_door_until_then() -> None:
    clock = Clock()
    pace = AdaptiveLimit(8, 4, clock=clock)
    first, second = pace.begin(), pace.begin()
    assert first is not None and second is not None
    pace.rejected(first, 5.0)
    pace.succeeded(second)
    clock.now += 4.9
    pace.tick()
    assert pace.begin() is None
    clock.now += 0.2
    assert pace.begin() is not None


def test_a_burst_of_refusals_takes_no_more_than_half() -> None:
    """Late refusals find few calls in flight, which says nothing about the server's places."""
    clock = Clock()
    pace = AdaptiveLimit(64, 16, clock=clock)
    calls = [pace.begin() for _ in range(16)]
    for call in calls:
        assert call is not None
        pace.rejected(call, None)
    assert pace.limit == 8.0
    assert pace.in_flight == 0


def test_an_overload_counts_once_for_all_calls_in_flight() -> None:
    pace = AdaptiveLimit(64, 10, clock=Clock())
    calls = [pace.begin() for _ in range(10)]
    for call in calls:
        assert call is not None
        pace.failed(call, overload=True)
    assert pace.limit == 8.0
    call = pace.begin()
    assert call is not None
    pace.failed(call, overload=False)
    assert (pace.limit, pace.in_flight) == (8.0, 0)
