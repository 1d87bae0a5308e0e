"""A cap on tokens and money that refuses before the call that could exceed it."""

from dataclasses import dataclass
from threading import Lock

from shared.errors import InvalidInputError
from shared.llm.errors import LlmBudgetError
from shared.llm.messages import ChatRequest
from shared.llm.profiles import EndpointProfile

TOKENS_A_MESSAGE = 16


@dataclass(frozen=True)
class Cost:
    """Tokens, prompt and completion together, and dollars."""

    tokens: int = 0
    usd: float = 0.0


def worst_case(request: ChatRequest, profile: EndpointProfile) -> Cost:
    """An upper bound: a byte of UTF-8 is at least one token's worth in byte-level vocabularies, `n` full answers."""
    prompt = sum(len(message.content.encode()) for message in request.messages)
    prompt += TOKENS_A_MESSAGE * (len(request.messages) + 1)
    completion = request.n * request.max_tokens
    return Cost(prompt + completion, profile.price(prompt, completion) or 0.0)


class Budget:
    """Counts what was spent and what is in flight. Safe between threads.

    `spent` at the start is what the job has already paid elsewhere. A call whose end is unknown
    (timeout, lost connection, unreadable answer) counts at its worst.
    """

    def __init__(self, *, max_tokens: int | None = None, max_usd: float | None = None, spent: Cost = Cost()) -> None:
        self.max_tokens, self.max_usd = max_tokens, max_usd
        self._spent, self._reserved, self._calls = spent, Cost(), 0
        self._lock = Lock()

    @property
    def spent(self) -> Cost:
        return self._spent

    def check_prices(self, profile: EndpointProfile) -> None:
        """Raises `InvalidInputError` when a cap in dollars meets a profile without prices."""
        if self.max_usd is not None and profile.price(0, 0) is None:
            raise InvalidInputError(
                f"endpoint {profile.name!r} has no prices, so a budget in dollars cannot be kept; "
                "set its usd_per_million_in and usd_per_million_out, or cap tokens instead"
            )

    def reserve(self, cost: Cost, endpoint: str, model: str, *, last: bool = False) -> bool:
        """True: it may begin. False: wait, calls in flight hold the rest (not if `last`). `LlmBudgetError`: never."""
        with self._lock:
            if not self._fits(cost, self._reserved if last else Cost()):
                raise self.refusal(cost, endpoint, model)
            if not self._fits(cost, self._reserved):
                return False
            self._reserved = Cost(self._reserved.tokens + cost.tokens, self._reserved.usd + cost.usd)
            self._calls += 1
            return True

    def settle(self, reserved: Cost, paid: Cost) -> None:
        """Ends a reservation; `paid` is what the call really cost."""
        with self._lock:
            self._calls -= 1
            # Sums of floats drift: with nothing in flight the reserve is exactly nothing.
            rest = Cost(self._reserved.tokens - reserved.tokens, self._reserved.usd - reserved.usd)
            self._reserved = rest if self._calls else Cost()
            self._spent = Cost(self._spent.tokens + paid.tokens, self._spent.usd + paid.usd)

    def refusal(self, cost: Cost, endpoint: str, model: str) -> LlmBudgetError:
        """What to tell when a call of that cost is not made."""
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
