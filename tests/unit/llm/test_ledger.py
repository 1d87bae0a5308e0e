"""A budget that shards and workers of a job share: the cap holds over all of them, and through a kill."""

import random
import threading
import uuid
from collections.abc import Callable

import pytest

from shared.contracts.base import Owner
from shared.jobs.store import JobStore
from shared.llm import budgets
from shared.llm.budgets import Budget, Cost, DayBudget, JobBudget, set_day_limits, spent_today, to_nano_usd
from shared.llm.client import ChatClient
from shared.llm.errors import LlmBudgetError
from shared.llm.messages import ChatAnswer
from shared.storage.directory import DirectoryStore
from tests.support.valkey import module_redis_url
from tests.unit.jobs.helpers import open_jobs
from tests.unit.llm.helpers import QUICK, StartServer, ask, complete_many, profile_of

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
    assert [to_nano_usd(usd) for usd in (0.0, 1e-9, 0.1 + 0.2, 1.5e-9)] == [0, 1, 300_000_000, 2]


@pytest.fixture
def day(jobs: JobStore) -> Callable[..., DayBudget]:
    def open_day(job: str, own: Budget | None = None, *, key: str = "k1") -> DayBudget:
        return DayBudget(jobs, Owner(id=key, name="bob"), f"{job}/write/0", own)

    return open_day


def test_all_jobs_of_a_key_draw_on_its_day_and_another_keys_do_not(
    jobs: JobStore, day: Callable[..., DayBudget]
) -> None:
    set_day_limits(jobs, "k1", tokens=100, usd=None)
    first, second = day("j1"), day("j2")
    assert first.reserve(Cost(60, 0.5), "e", "m")
    assert not second.reserve(Cost(60), "e", "m")
    first.settle(Cost(60, 0.5), Cost(50, 0.25))
    assert spent_today(jobs, "k1") == Cost(50, 0.25)
    with pytest.raises(LlmBudgetError, match=r"the key bob has spent 50 of 100 tokens of today") as refused:
        second.reserve(Cost(60), "e", "m")
    assert (refused.value.code, refused.value.retryable) == ("day_spent", False)
    assert second.reserve(Cost(50), "e", "m")
    assert day("j3", key="k2").reserve(Cost(10**9, 10.0), "e", "m")  # no limit was set


def test_a_call_that_the_day_refuses_holds_nothing_of_the_job(
    jobs: JobStore, budget: OpenBudget, day: Callable[..., DayBudget]
) -> None:
    set_day_limits(jobs, "k1", tokens=10, usd=None)
    own = budget(0, max_tokens=100)
    both = day("j", own)
    with pytest.raises(LlmBudgetError, match="the key bob"):
        both.reserve(Cost(60), "e", "m")
    assert own.reserve(Cost(100), "e", "m")
    own.settle(Cost(100), Cost(95))
    with pytest.raises(LlmBudgetError, match="95 of 100 tokens"):
        both.reserve(Cost(6), "e", "m")
    assert both.reserve(Cost(5), "e", "m")
    assert spent_today(jobs, "k1").tokens == 5


def test_a_new_day_is_a_new_sum_and_a_call_over_midnight_counts_where_it_began(
    jobs: JobStore, day: Callable[..., DayBudget], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_day_limits(jobs, "k1", tokens=None, usd=1.0)
    both = day("j1")
    assert both.reserve(Cost(1, 1.0), "e", "m")
    monkeypatch.setattr(budgets, "today", lambda: "2999-01-01")
    assert both.reserve(Cost(1, 0.7), "e", "m")
    both.settle(Cost(1, 1.0), Cost(1, 0.9))
    both.settle(Cost(1, 0.7), Cost(1, 0.7))
    assert spent_today(jobs, "k1").usd == pytest.approx(0.7)
    monkeypatch.undo()
    assert spent_today(jobs, "k1").usd == pytest.approx(0.9)
    with pytest.raises(LlmBudgetError, match=r"0\.9000 of 1\.0000 dollars"):
        day("j2").reserve(Cost(1, 0.2), "e", "m")


def test_an_endpoint_without_prices_is_held_by_tokens(
    jobs: JobStore, openai_server: StartServer, store: DirectoryStore, day: Callable[..., DayBudget]
) -> None:
    set_day_limits(jobs, "k1", tokens=10**6, usd=5.0)
    server = openai_server(lambda _request: "one two three")
    client = ChatClient(profile_of(server), store, budget=day("j"), policy=QUICK)
    assert len(complete_many(client, [ask("a"), ask("b")])) == 2
    spent = spent_today(jobs, "k1").tokens
    assert 0 < spent < 1000
    complete_many(client, [ask("a"), ask("b")])
    assert spent_today(jobs, "k1").tokens == spent  # recorded answers cost nothing
