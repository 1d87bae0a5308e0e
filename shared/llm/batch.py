"""A batch of requests inside an event loop: cache, budget, limiter, call, record."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from shared.errors import SenseError
from shared.llm.budget import Budget, Cost, worst_case
from shared.llm.call import call_once
from shared.llm.errors import (
    LlmContentFilterError,
    LlmError,
    LlmRateLimitError,
    LlmUnknownModelError,
)
from shared.llm.limiter import Limiter, pace_of
from shared.llm.messages import ChatAnswer, ChatRequest, Usage, UsageCallback
from shared.llm.pace import Call
from shared.llm.profiles import EndpointProfile
from shared.llm.replay import AnswerLog, RecordedAnswer, answer_hash
from shared.llm.retry import RetryPolicy
from shared.metrics import LLM_CALLS, LLM_CONCURRENCY, LLM_SECONDS, LLM_TOKENS, LLM_USD
from shared.storage.keys import answer_key

if TYPE_CHECKING:
    import openai

BUDGET_POLL_S = 0.05
GIVEN_UP_MOST = 8
Outcome = ChatAnswer | SenseError


class Batch:
    """Answers the requests of one call of the client; `deliver(index, outcome)` is called once for each."""

    def __init__(
        self,
        profile: EndpointProfile,
        *,
        client: "openai.AsyncOpenAI",
        log: AnswerLog,
        policy: RetryPolicy,
        budget: Budget | None,
        on_usage: UsageCallback | None,
    ) -> None:
        self.profile, self.client, self.log, self.policy = profile, client, log, policy
        self.budget = budget or Budget()
        self.on_usage = on_usage
        self.limiter = Limiter(pace_of(profile))
        self._rng = random.Random()
        self._fatal: LlmError | None = None
        self._given_up = 0
        self._first: dict[str, asyncio.Future[Outcome]] = {}

    async def run(self, requests: Sequence[ChatRequest], deliver: Callable[[int, Outcome], None]) -> None:
        """Raises only what no single request is to blame for, for example a store that is down."""
        queue = iter(enumerate(requests))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.profile.max_concurrency, len(requests))):
                group.create_task(self._work(queue, deliver))

    async def _work(self, queue: Iterator[tuple[int, ChatRequest]], deliver: Callable[[int, Outcome], None]) -> None:
        for index, request in queue:
            deliver(index, await self._answer_once(request))

    async def _answer_once(self, request: ChatRequest) -> Outcome:
        """Equal requests in one batch share one answer, also while it is in flight."""
        hashed = answer_hash(self.profile.name, request)
        if (first := self._first.get(hashed)) is not None:
            return await asyncio.shield(first)
        future = self._first[hashed] = asyncio.get_running_loop().create_future()
        try:
            outcome: Outcome = await self._answer(hashed, request)
        except LlmError as error:
            outcome = error
            self._note(error)
        except BaseException:
            future.cancel()
            raise
        future.set_result(outcome)
        return outcome

    def _note(self, error: LlmError) -> None:
        """One request may be poison to a server; several given up in a row mean that the server is down."""
        self._given_up += error.retryable
        most = min(self.profile.max_concurrency, GIVEN_UP_MOST)
        if self._fatal is None and (error.fatal or self._given_up > most):
            self._fatal = error

    async def _answer(self, hashed: str, request: ChatRequest) -> ChatAnswer:
        recorded, cached = await asyncio.to_thread(self.log.find, hashed), True
        if recorded is None:
            recorded, cached = await self._buy(hashed, request), False
        else:
            self._count(request, "cached")
            if self.on_usage is not None:
                self.on_usage(self._usage(recorded, cached=True))
        if all(reason == "content_filter" for reason in recorded.finish_reasons):
            raise LlmContentFilterError(
                f"endpoint {self.profile.name!r} filters this prompt for model {request.model!r}; change its words"
            )
        return ChatAnswer(
            texts=recorded.texts,
            finish_reasons=recorded.finish_reasons,
            prompt_tokens=recorded.prompt_tokens,
            completion_tokens=recorded.completion_tokens,
            key=answer_key(hashed),
            cached=cached,
            seconds=recorded.seconds,
        )

    async def _buy(self, hashed: str, request: ChatRequest) -> RecordedAnswer:
        self._check_model(request)
        failures: Counter[bool] = Counter()
        while True:
            if self._fatal is not None:
                raise self._fatal.again()
            try:
                return await self._try(hashed, request)
            except LlmError as error:
                kind = isinstance(error, LlmRateLimitError)
                failures[kind] += 1
                wait = self.policy.wait_s(failures[kind], error, self._rng)
                if wait is None:
                    tries = failures.total()
                    raise error.again(f" (tried {tries} times)" if tries > 1 else "") from error
            await asyncio.sleep(wait)

    def _check_model(self, request: ChatRequest) -> None:
        if self.profile.models is not None and request.model not in self.profile.models:
            raise LlmUnknownModelError(
                f"endpoint {self.profile.name!r} does not allow model {request.model!r}; "
                f"name one of {', '.join(self.profile.models)}"
            )

    async def _try(self, hashed: str, request: ChatRequest) -> RecordedAnswer:
        worst = worst_case(request, self.profile)
        await self._reserve(worst, request)
        paid = Cost()
        try:
            call = await self.limiter.acquire()
            paid = worst  # a call cut short counts at its worst
            try:
                answer = await self._call(hashed, request, call)
            except LlmContentFilterError:
                answer = self._refusal(request)  # recorded like an answer: another run of the job must end the same
            except LlmError as error:
                paid = worst if error.may_be_billed else Cost()
                raise
            paid = self._paid(answer, worst)
            # Handed to its thread at once, with no await between: an abort must not lose what is already paid.
            stored = asyncio.get_running_loop().run_in_executor(None, self._record, hashed, answer)
        finally:
            self.budget.settle(worst, paid)
        await asyncio.shield(stored)
        return answer

    async def _call(self, hashed: str, request: ChatRequest, call: Call) -> RecordedAnswer:
        """One call with its outcome told to the limiter, whatever it is."""
        try:
            answer = await call_once(self.client, self.profile, request, hashed)
        except LlmRateLimitError as error:
            self.limiter.rejected(call, error.retry_after_s)
            self._count(request, error.code)
            raise
        except BaseException as error:
            self.limiter.failed(call, overload=isinstance(error, LlmError) and error.overload)
            self._count(request, error.code if isinstance(error, LlmError) else "aborted")
            raise
        self.limiter.succeeded(call)
        self._given_up = 0
        self._count(request, "ok")
        LLM_SECONDS.labels(endpoint=self.profile.name, model=request.model).observe(answer.seconds)
        return answer

    def _refusal(self, request: ChatRequest) -> RecordedAnswer:
        return RecordedAnswer(
            endpoint=self.profile.name,
            request=request,
            served_model=None,
            texts=[""] * request.n,
            finish_reasons=["content_filter"] * request.n,
            prompt_tokens=0,
            completion_tokens=0,
            usage_reported=True,
            seconds=0.0,
        )

    def _count(self, request: ChatRequest, end: str) -> None:
        LLM_CALLS.labels(endpoint=self.profile.name, model=request.model, end=end).inc()
        LLM_CONCURRENCY.labels(endpoint=self.profile.name).set(int(self.limiter.pace.limit))

    async def _reserve(self, worst: Cost, request: ChatRequest) -> None:
        """Waits while calls in flight hold what is left, here or elsewhere; not for ever: a process may have died."""
        patience = 2.0 * self.profile.timeout_s
        while not self.budget.reserve(worst, self.profile.name, request.model, last=patience <= 0.0):
            await asyncio.sleep(BUDGET_POLL_S)
            patience -= BUDGET_POLL_S

    def _record(self, hashed: str, answer: RecordedAnswer) -> None:
        self.log.record(hashed, answer)
        names = {"endpoint": self.profile.name, "model": answer.request.model}
        LLM_TOKENS.labels(model=answer.request.model, direction="in").inc(answer.prompt_tokens)
        LLM_TOKENS.labels(model=answer.request.model, direction="out").inc(answer.completion_tokens)
        LLM_USD.labels(**names).inc(self.profile.price(answer.prompt_tokens, answer.completion_tokens) or 0.0)
        if self.on_usage is not None:
            self.on_usage(self._usage(answer, cached=False))

    def _paid(self, answer: RecordedAnswer, worst: Cost) -> Cost:
        if not answer.usage_reported:
            return worst
        usd = self.profile.price(answer.prompt_tokens, answer.completion_tokens)
        return Cost(answer.prompt_tokens + answer.completion_tokens, usd or 0.0)

    def _usage(self, answer: RecordedAnswer, *, cached: bool) -> Usage:
        prompt, completion = (0, 0) if cached else (answer.prompt_tokens, answer.completion_tokens)
        return Usage(
            endpoint=self.profile.name,
            model=answer.request.model,
            prompt_tokens=prompt,
            completion_tokens=completion,
            usd=self.profile.price(prompt, completion),
            cached=cached,
            seconds=answer.seconds,
        )
