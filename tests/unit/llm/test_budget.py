"""The cap refuses before a call that could exceed it."""

import pytest

from shared.errors import InvalidInputError
from shared.llm.budgets import Budget, Cost, worst_case
from shared.llm.client import ChatClient, RetryPolicy
from shared.llm.endpoints import EndpointProfile
from shared.llm.errors import LlmBudgetError, LlmTimeoutError
from shared.storage.directory import DirectoryStore
from tests.support.faults import Fault, FaultPlan
from tests.unit.llm.helpers import QUICK, StartServer, ask, complete_many, profile_of

PRICED = EndpointProfile(name="p", base_url="http://x/v1", usd_per_million_in=1e6, usd_per_million_out=2e6)


def test_the_worst_case_bounds_prompt_and_all_samples() -> None:
    cost = worst_case(ask("four", n=3, max_tokens=10), PRICED)
    assert cost == Cost(tokens=4 + 32 + 30, usd=36.0 + 60.0)


def test_reserve_settle_refuse() -> None:
    budget = Budget(max_tokens=100)
    assert budget.reserve(Cost(60), "e", "m")
    assert not budget.reserve(Cost(60), "e", "m")
    budget.settle(Cost(60), Cost(10))
    assert budget.reserve(Cost(60), "e", "m")
    budget.settle(Cost(60), Cost(60))
    assert budget.spent == Cost(70)
    with pytest.raises(LlmBudgetError, match="70 of 100 tokens spent"):
        budget.reserve(Cost(31), "e", "m")
    assert budget.reserve(Cost(30), "e", "m")


def test_money_counts_as_well_as_what_was_spent_before() -> None:
    budget = Budget(max_usd=1.0, spent=Cost(tokens=5, usd=0.9))
    with pytest.raises(LlmBudgetError, match=r"0\.9000 of 1\.0000 dollars"):
        budget.reserve(Cost(1, 0.2), "e", "m")


def test_a_dollar_cap_needs_prices(openai_server: StartServer, store: DirectoryStore) -> None:
    with pytest.raises(InvalidInputError, match="usd_per_million_in"):
        ChatClient(profile_of(openai_server()), store, budget=Budget(max_usd=1.0))


def test_calls_stop_below_the_cap_and_cached_answers_cost_nothing(
    openai_server: StartServer, store: DirectoryStore
) -> None:
    server = openai_server(lambda _request: "one two three")
    requests = [ask(f"q {number}", max_tokens=10) for number in range(200)]
    budget = Budget(max_tokens=150)
    outcomes = dict(ChatClient(profile_of(server), store, budget=budget, policy=QUICK).stream_many(requests))
    bought = [outcome for outcome in outcomes.values() if not isinstance(outcome, LlmBudgetError)]
    assert 0 < len(bought) < 200
    assert len(bought) == len(server.bodies)
    # Each answer costs 5 tokens and at worst 10 + 32 + the prompt's 3 to 5 bytes.
    assert budget.spent.tokens == 5 * len(bought)
    assert 150 - 47 < budget.spent.tokens <= 150
    again = dict(ChatClient(profile_of(server), store, budget=Budget(max_tokens=0)).stream_many(requests))
    assert sum(not isinstance(outcome, LlmBudgetError) for outcome in again.values()) == len(bought)
    assert len(server.bodies) == len(bought)


def test_a_call_with_unknown_end_counts_at_its_worst(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(faults=FaultPlan(first=[Fault.STALL]))
    profile, budget = profile_of(server, timeout_s=0.2), Budget(max_tokens=1_000)
    with pytest.raises(LlmTimeoutError):
        complete_many(ChatClient(profile, store, budget=budget, policy=RetryPolicy(tries=1)), [ask()])
    assert budget.spent == worst_case(ask(), profile)


def test_a_refused_call_costs_nothing(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(faults=FaultPlan(first=[Fault.SERVER_ERROR]))
    budget = Budget(max_tokens=1_000)
    answer = complete_many(ChatClient(profile_of(server), store, budget=budget, policy=QUICK), [ask()])[0]
    assert budget.spent.tokens == answer.prompt_tokens + answer.completion_tokens
