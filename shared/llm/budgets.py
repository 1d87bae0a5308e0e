"""Caps on tokens and money, checked before the call that could exceed them.

A `Budget` counts in this process. The sums of a `JobBudget` (one job, all its shards and workers) and a `DayBudget`
(one API key's day) are in Redis, and every step on them is atomic.
"""

import time
from collections import deque
from dataclasses import dataclass
from math import ceil
from threading import Lock
from typing import Any

from shared.contracts.base import Owner
from shared.errors import InvalidInputError, UnavailableError
from shared.jobs.store import JobStore
from shared.llm.endpoints import EndpointProfile
from shared.llm.errors import LlmBudgetError
from shared.llm.messages import ChatRequest
from shared.logging import get_logger
from shared.redis import redis_errors

TOKENS_PER_MESSAGE = 16  # for what a chat template adds around each message


@dataclass(frozen=True)
class Cost:
    """Tokens (prompt and completion together) and dollars."""

    tokens: int = 0
    usd: float = 0.0


def worst_case(request: ChatRequest, profile: EndpointProfile) -> Cost:
    """`n` full answers, and as many prompt tokens as UTF-8 bytes: byte-level vocabularies never need more."""
    prompt = sum(len(message.content.encode()) for message in request.messages)
    prompt += TOKENS_PER_MESSAGE * (len(request.messages) + 1)
    completion = request.n * request.max_tokens
    return Cost(prompt + completion, profile.price(prompt, completion) or 0.0)


class Budget:
    """Counts what is spent and what is in flight. Safe between threads.

    `spent` is what the job has already paid elsewhere. A call with an unknown end (timeout, lost connection, unreadable
    answer) counts at its worst case.
    """

    def __init__(self, *, max_tokens: int | None = None, max_usd: float | None = None, spent: Cost = Cost()) -> None:
        self.max_tokens, self.max_usd = max_tokens, max_usd
        self._spent, self._reserved, self._calls = spent, Cost(), 0
        self._lock = Lock()

    @property
    def spent(self) -> Cost:
        return self._spent

    def check_prices(self, profile: EndpointProfile) -> None:
        """Raises `InvalidInputError` if dollars are capped and the profile has no prices."""
        if self.max_usd is not None and profile.price(0, 0) is None:
            raise InvalidInputError(
                f"endpoint {profile.name!r} has no prices, so a budget in dollars cannot be kept; "
                "set its usd_per_million_in and usd_per_million_out, or cap tokens instead"
            )

    def reserve(self, cost: Cost, endpoint: str, model: str, *, last: bool = False) -> bool:
        """Returns False if calls in flight hold the rest (never with `last`): wait and try again.

        Raises `LlmBudgetError` if the cost cannot fit.
        """
        with self._lock:
            # If it does not fit even with nothing in flight, waiting is of no use.
            if not self._fits(cost, self._reserved if last else Cost()):
                raise self.refusal(cost, endpoint, model)
            if not self._fits(cost, self._reserved):
                return False
            self._reserved = Cost(self._reserved.tokens + cost.tokens, self._reserved.usd + cost.usd)
            self._calls += 1
            return True

    def settle(self, reserved: Cost, paid: Cost) -> None:
        with self._lock:
            self._calls -= 1
            # Sums of floats drift: with nothing in flight, reset the reserve to exactly zero.
            rest = Cost(self._reserved.tokens - reserved.tokens, self._reserved.usd - reserved.usd)
            self._reserved = rest if self._calls else Cost()
            self._spent = Cost(self._spent.tokens + paid.tokens, self._spent.usd + paid.usd)

    def refusal(self, cost: Cost, endpoint: str, model: str) -> LlmBudgetError:
        needed = f"{cost.usd:.4f} dollars" if self.max_usd is not None else f"{cost.tokens} tokens"
        return LlmBudgetError(
            f"the next call to model {model!r} at endpoint {endpoint!r} may cost {needed} and could exceed the budget "
            f"({self._describe()} spent); submit the job again with a larger one: recorded answers are not bought again"
        )

    def _fits(self, cost: Cost, held: Cost) -> bool:
        tokens = self._spent.tokens + held.tokens + cost.tokens
        usd = self._spent.usd + held.usd + cost.usd
        return (self.max_tokens is None or tokens <= self.max_tokens) and (self.max_usd is None or usd <= self.max_usd)

    def _describe(self) -> str:
        parts = []
        if self.max_usd is not None:
            parts.append(f"{self._spent.usd:.4f} of {self.max_usd:.4f} dollars")
        if self.max_tokens is not None:
            parts.append(f"{self._spent.tokens} of {self.max_tokens} tokens")
        return " and ".join(parts)


NANO = 1_000_000_000  # Redis adds up integers, so dollars are counted in billionths
DAY_KEPT_S = 3 * 86_400  # sums outlive their day, because a call is settled on the day on which it began
log = get_logger()


class Ledger:
    """Sums in Redis under one name: what was spent, and what calls in flight hold, in any process.

    `holder` is the shard. What a killed attempt had reserved counts as spent once the shard is started again, because
    its calls may have been billed; until then the others wait.
    """

    def __init__(self, jobs: JobStore, name: str, holder: str, *, kept_s: int = 0) -> None:
        self.jobs, self.name, self.holder, self.kept_s = jobs, name, holder, kept_s
        jobs.steps.run("budget_open", name, holder)

    def reserve(self, cost: Cost, most_tokens: int | None, most_usd: float | None, *, last: bool) -> tuple[str, Cost]:
        """`ok`, `wait` (calls in flight hold the rest) or `never`, and what was spent."""
        most = (-1 if most_tokens is None else most_tokens, -1 if most_usd is None else to_nano_usd(most_usd))
        asked = (*most, cost.tokens, to_nano_usd(cost.usd), int(last), self.kept_s)
        answer, tokens, spent = self.jobs.steps.run("budget_reserve", self.name, self.holder, *asked)
        return str(answer), Cost(int(tokens), int(spent) / NANO)

    def settle(self, reserved: Cost, paid: Cost) -> None:
        """Without Redis the reservation stays, at its worst case: a paid answer must not be lost because of this."""
        sums = (reserved.tokens, to_nano_usd(reserved.usd), paid.tokens, to_nano_usd(paid.usd))
        try:
            self.jobs.steps.run("budget_settle", self.name, self.holder, *sums)
        except UnavailableError as error:
            log.warning("budget.not_settled", ledger=self.name, error=error.message)


class JobBudget(Budget):
    """A budget that all shards of a job draw on."""

    def __init__(
        self,
        jobs: JobStore,
        where: tuple[str, str, str],
        *,
        max_tokens: int | None = None,
        max_usd: float | None = None,
    ) -> None:
        super().__init__(max_tokens=max_tokens, max_usd=max_usd)
        job_id, scope, holder = where
        self.ledger = Ledger(jobs, f"job:{job_id}:budget:{scope}", holder)

    def reserve(self, cost: Cost, endpoint: str, model: str, *, last: bool = False) -> bool:
        answer, self._spent = self.ledger.reserve(cost, self.max_tokens, self.max_usd, last=last)
        if answer == "never":
            raise self.refusal(cost, endpoint, model)
        return answer == "ok"

    def settle(self, reserved: Cost, paid: Cost) -> None:
        self.ledger.settle(reserved, paid)


class DayBudgetError(LlmBudgetError):
    """The next call could exceed what the key may spend today."""

    code = "day_spent"


class DayBudget(Budget):
    """What an API key may spend per day (UTC) at the operator's endpoints, on top of the job's `own` budget."""

    def __init__(self, jobs: JobStore, owner: Owner, holder: str, own: Budget | None = None) -> None:
        tokens, usd = day_limits(jobs, owner.id)
        super().__init__(max_tokens=tokens, max_usd=usd)
        self.jobs, self.owner, self.holder, self.own = jobs, owner, holder, own or Budget()
        self._ledgers: dict[str, Ledger] = {}
        self._open: deque[str] = deque()  # days of calls in flight, oldest first: each is settled on its day
        self._days = Lock()

    @property
    def spent(self) -> Cost:
        """What the job has spent, not the day."""
        return self.own.spent

    def check_prices(self, profile: EndpointProfile) -> None:
        """The day's dollars count only at endpoints with prices; its tokens count everywhere."""
        self.own.check_prices(profile)

    def reserve(self, cost: Cost, endpoint: str, model: str, *, last: bool = False) -> bool:
        """Reserves in both sums or in none."""
        if not self.own.reserve(cost, endpoint, model, last=last):
            return False
        day, answer = today(), ""
        try:
            answer, self._spent = self._ledger(day).reserve(cost, self.max_tokens, self.max_usd, last=last)
        finally:
            # The day refuses, has to wait, or Redis failed: the job must not keep half of a reservation.
            if answer != "ok":
                self.own.settle(cost, Cost())
        if answer == "never":
            raise self.refusal(cost, endpoint, model)
        if answer == "ok":
            with self._days:
                self._open.append(day)
        return answer == "ok"

    def settle(self, reserved: Cost, paid: Cost) -> None:
        self.own.settle(reserved, paid)
        with self._days:
            day = self._open.popleft()
        self._ledger(day).settle(reserved, paid)

    def refusal(self, cost: Cost, endpoint: str, model: str) -> LlmBudgetError:
        return DayBudgetError(
            f"the key {self.owner.name} has spent {self._describe()} of today (UTC), and the next call to {model!r} at "
            f"{endpoint!r} may cost {cost.usd:.4f} dollars and {cost.tokens} tokens; retry the job tomorrow, or have "
            "the key's limit raised: recorded answers are not bought again"
        )

    def _ledger(self, day: str) -> Ledger:
        with self._days:
            if (found := self._ledgers.get(day)) is None:
                name = day_ledger_name(self.owner.id, day)
                found = self._ledgers[day] = Ledger(self.jobs, name, self.holder, kept_s=DAY_KEPT_S)
        return found


def set_day_limits(jobs: JobStore, owner_id: str, *, tokens: int | None, usd: float | None) -> None:
    """Called with each job that is submitted or retried; workers enforce the stored limits."""
    fields = {"tokens": -1 if tokens is None else tokens, "nano": -1 if usd is None else to_nano_usd(usd)}
    with redis_errors():
        jobs.client.hset(jobs.key("owner", owner_id, "limits"), mapping=fields)


def day_limits(jobs: JobStore, owner_id: str) -> tuple[int | None, float | None]:
    """Tokens and dollars per day; None means no limit."""
    with redis_errors():
        tokens, usd = jobs.client.hmget(jobs.key("owner", owner_id, "limits"), "tokens", "nano")
    return (
        None if tokens is None or int(tokens) < 0 else int(tokens),
        None if usd is None or int(usd) < 0 else int(usd) / NANO,
    )


def spent_today(jobs: JobStore, owner_id: str) -> Cost:
    """What the owner's jobs have spent today, including what calls in flight may cost."""
    names = ("spent:tokens", "held:tokens", "spent:nano", "held:nano")
    with redis_errors():
        found: list[Any] = jobs.client.hmget(jobs.key(day_ledger_name(owner_id, today())), names)
    tokens, held, spent, waiting = (int(one or 0) for one in found)
    return Cost(tokens + held, (spent + waiting) / NANO)


def day_ledger_name(owner_id: str, day: str) -> str:
    return f"owner:{owner_id}:spent:{day}"


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def to_nano_usd(usd: float) -> int:
    """Whole billionths of a dollar, rounded up: sums of integers do not drift."""
    # The small term keeps float noise from rounding an exact amount up.
    return ceil(usd * NANO - 1e-6)
