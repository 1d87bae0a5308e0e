"""Slots of a service: bounded, and shared so that one key's calls never take them all."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from shared.errors import UnavailableError
from shared.http.slots import CallerShareError, Slots


class BusyError(UnavailableError):
    code = "test_busy"


def slots(count: int, *, wait_s: float = 0.02, waiting: int = 8) -> Slots:
    return Slots(count, wait_s=wait_s, waiting=waiting, what="the test", busy=BusyError)


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_one_key_leaves_a_slot_to_others(count: int) -> None:
    async def run() -> None:
        desk = slots(count)
        async with AsyncExitStack() as held:
            for _ in range(desk.share):
                await held.enter_async_context(desk.taken("a"))
            with pytest.raises(CallerShareError, match=f"{desk.share} of the {count} slots"):
                async with desk.taken("a"):
                    pass
            async with desk.taken("b"):
                pass
            for _ in range(count - desk.share):
                await held.enter_async_context(desk.taken(""))
            with pytest.raises(BusyError):
                async with desk.taken("b"):
                    pass
        assert (desk.free, desk.waiting) == (count, 0)

    asyncio.run(run())


def test_without_names_all_slots_are_anybodys() -> None:
    async def run() -> None:
        desk = slots(2)
        async with desk.taken(), desk.taken():
            with pytest.raises(BusyError):
                async with desk.taken():
                    pass

    asyncio.run(run())


def test_waiting_keys_are_served_in_turn_and_one_does_not_fill_the_queue() -> None:
    async def run() -> None:
        desk, order = slots(1, wait_s=5.0, waiting=4), list[str]()

        async def call(name: str) -> None:
            async with desk.taken(name):
                order.append(name)
                await asyncio.sleep(0)

        async with desk.taken("a"):
            waiting = [asyncio.create_task(call(name)) for name in ("a", "a", "b", "c")]
            await asyncio.sleep(0)
            with pytest.raises(CallerShareError, match="2 of its calls wait already"):
                async with desk.taken("a"):
                    pass
        await asyncio.gather(*waiting)
        assert order == ["a", "b", "c", "a"]

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_no_slot_is_lost_and_no_share_exceeded(seed: int) -> None:
    rng = random.Random(seed)

    async def run() -> None:
        desk, held, most = slots(rng.randint(1, 5), wait_s=0.003), Counter[str](), Counter[str]()

        async def call(name: str) -> None:
            await asyncio.sleep(rng.random() * 0.02)
            try:
                async with desk.taken(name):
                    held[name] += 1
                    most[name] = max(most[name], held[name])
                    assert held.total() <= desk.count
                    try:
                        await asyncio.sleep(rng.random() * 0.006)
                    finally:
                        held[name] -= 1
            except (CallerShareError, BusyError):
                pass

        tasks = [asyncio.create_task(call(rng.choice(["", "a", "b", "c"]))) for _ in range(150)]
        await asyncio.sleep(0.01)
        for task in rng.sample(tasks, 40):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        errors = [task.exception() for task in tasks if not task.cancelled()]
        assert errors == [None] * len(errors)
        assert (desk.free, desk.waiting, held.total()) == (desk.count, 0, 0)
        assert all(most[name] <= desk.share for name in "abc")

    asyncio.run(run())
