"""A budget that shards and workers of a job share: the cap holds over all of them, and through a kill."""

import random
import threading
import uuid
from collections.abc import Callable

import pytest

from shared.jobs.store import JobStore
from shared.llm.budget import Cost
from shared.llm.client import ChatClient
from shared.llm.errors import LlmBudgetError
from shared.llm.ledger import JobBudget, nano
from shared.llm.messages import ChatAnswer
from shared.storage.directory import DirectoryStore
from tests.support.valkey import module_redis_url
from tests.unit.jobs.helpers import open_jobs
from tests.unit.llm.helpers import QUICK, StartServer, ask, profile_of

__all__ = ["module_redis_url"]
OpenBudget = Callable[..., JobBudget]


@pytest.fixture
def jobs(module_redis_url: str) -> JobStore:
    return open_jobs(module_redis_url, f"b{uuid.uuid4().hex[:8]}:")


@pytest.fixture
def budget(jobs: JobStore) -> OpenBudget:
    def open_budget(shard: int = 0, **most: float) -> JobBudget:
        return JobBudget(jobs, ("j", "write", f"write.train/{shard}"), **most)  # type: ignore[arg-type]

    return open_budget


def test_shards_draw_on_one_sum(budget: OpenBudget) -> None:
    first, second = budget(0, max_tokens=100), budget(1, max_tokens=100)
    assert first.reserve(Cost(60), "e", "m")
    assert not second.reserve(Cost(60), "e", "m")
    first.settle(Cost(60), Cost(10))
    assert second.reserve(Cost(60), "e", "m")
    second.settle(Cost(60), Cost(60))
    with pytest.raises(LlmBudgetError, match="70 of 100 tokens spent"):
        first.reserve(Cost(31), "e", "m")
    assert budget(2, max_tokens=100).reserve(Cost(30), "e", "m")


def test_what_a_killed_attempt_held_counts_as_spent_and_its_late_settling_does_not(budget: OpenBudget) -> None:
    killed = budget(0, max_usd=1.0)
    assert killed.reserve(Cost(10, 0.4), "e", "m")
    other = budget(1, max_usd=1.0)
    assert not other.reserve(Cost(10, 0.7), "e", "m")
    again = budget(0, max_usd=1.0)
    with pytest.raises(LlmBudgetError, match=r"0\.4000 of 1\.0000 dollars"):
        other.reserve(Cost(10, 0.7), "e", "m")
    killed.settle(Cost(10, 0.4), Cost(1, 0.01))
    assert again.reserve(Cost(1, 0.6), "e", "m")
    with pytest.raises(LlmBudgetError):
        other.reserve(Cost(1, 0.0001), "e", "m", last=True)


def test_a_hundred_threads_stay_below_the_cap(budget: OpenBudget) -> None:
    spent, lock = [0], threading.Lock()

    def buy(number: int) -> None:
        own, rng = budget(number, max_tokens=1000), random.Random(number)
        for _ in range(10):
            try:
                if not own.reserve(Cost(50), "e", "m"):
                    continue
            except LlmBudgetError:
                return
            paid = rng.randint(1, 50)
            with lock:
                spent[0] += paid
            own.settle(Cost(50), Cost(paid))

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 800 < spent[0] <= 1000


def test_two_clients_of_one_job_buy_no_more_than_the_cap(
    openai_server: StartServer, store: DirectoryStore, budget: OpenBudget
) -> None:
    server = openai_server(lambda _request: "one two three", latency_s=0.01)
    profile = profile_of(server, usd_per_million_in=1000.0, usd_per_million_out=2000.0)
    outcomes: list[object] = []

    def buy(shard: int) -> None:
        client = ChatClient(profile, store, budget=budget(shard, max_usd=1.0), policy=QUICK)
        requests = [ask(f"q {shard} {number}", max_tokens=10) for number in range(100)]
        outcomes.extend(outcome for _, outcome in client.stream_many(requests))

    threads = [threading.Thread(target=buy, args=(shard,)) for shard in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bought = sum(isinstance(outcome, ChatAnswer) for outcome in outcomes)
    assert bought == len(server.bodies)
    assert len(outcomes) == 200
    # an answer of 3 + 3 words costs 0.009 dollars, and 0.064 at worst
    assert 1.0 - 0.064 - 0.009 < bought * 0.009 <= 1.0


def test_whole_billionths() -> None:
    assert [nano(usd) for usd in (0.0, 1e-9, 0.1 + 0.2, 1.5e-9)] == [0, 1, 300_000_000, 2]
