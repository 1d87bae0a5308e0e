"""The one client for every caller of a model: synchronous to its callers, concurrent inside.

Per request: look for a recorded answer, reserve the budget, wait for a slot, call, record.
"""

import asyncio
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import LostLeaseError, SenseError
from shared.llm.budgets import Budget, Cost, worst_case
from shared.llm.call import call_once, connections, learned_limits
from shared.llm.concurrency import CallSlot, Limiter, endpoint_limit
from shared.llm.endpoints import EndpointProfile
from shared.llm.errors import (
    LlmContentFilterError,
    LlmError,
    LlmRateLimitError,
    LlmUnknownModelError,
    LlmUnreadableError,
)
from shared.llm.messages import AnswerLog, ChatAnswer, ChatRequest, RecordedAnswer, Usage, UsageCallback, answer_hash
from shared.metrics import LLM_CALLS, LLM_CONCURRENCY, LLM_SECONDS, LLM_TOKENS, LLM_USD
from shared.storage.keys import answer_key
from shared.storage.store import ObjectStore

if TYPE_CHECKING:
    import openai


@dataclass(frozen=True)
class RetryPolicy:
    """Bounded retries with full jitter: each wait is drawn from 0 to `base_s` * 2**failures, at most `cap_s`.

    Rate limits have their own bound, since waiting ends them. A server that asks for more than `longest_wait_s` is not
    waited for.
    """

    tries: int = 6
    rate_limit_tries: int = 20
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_wait_s: float = 300.0

    def wait_s(self, failures: int, error: LlmError, rng: random.Random) -> float | None:
        """Seconds before the next try, after `failures` failures of this kind; None to give up."""
        bound = self.rate_limit_tries if isinstance(error, LlmRateLimitError) else self.tries
        asked = error.retry_after_s or 0.0
        if not error.retryable or failures >= bound or asked > self.longest_wait_s:
            return None
        # The exponent is bounded, because a float power overflows.
        return asked + rng.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures, 16)))


ABORT_POLL_S = BUDGET_POLL_S = 0.05
JOIN_S = 0.5  # how long a caller that leaves waits for dropped calls to end
GIVEN_UP_MOST = 8  # failed requests in a row before the endpoint counts as down
SAMPLE_STEP = 100_000  # between the try numbers of samples that are bought one by one
Outcome = ChatAnswer | SenseError


class Batch:
    """Answers the requests of one call of the client; `deliver(index, outcome)` is called once per request."""

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
        self.limiter = Limiter(endpoint_limit(profile))
        self._rng = random.Random()
        self._fatal: LlmError | None = None
        self._given_up = 0
        self._first: dict[str, asyncio.Future[Outcome]] = {}

    async def run(self, requests: Sequence[ChatRequest], deliver: Callable[[int, Outcome], None]) -> None:
        """Raises only errors that no single request caused, such as a store that is down."""
        queue = iter(enumerate(requests))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.profile.max_concurrency, len(requests))):
                group.create_task(self._work(queue, deliver))

    async def _work(self, queue: Iterator[tuple[int, ChatRequest]], deliver: Callable[[int, Outcome], None]) -> None:
        for index, request in queue:
            deliver(index, await self._answer_once(request))

    async def _answer_once(self, request: ChatRequest) -> Outcome:
        """Equal requests in one batch share one answer, also while it is in flight."""
        hashed = self._hash(request)
        # Shielded: a waiter that is cancelled must not cancel the call for the others.
        if (first := self._first.get(hashed)) is not None:
            return await asyncio.shield(first)
        future = self._first[hashed] = asyncio.get_running_loop().create_future()
        try:
            outcome: Outcome = await self._answer(hashed, request)
        except LlmError as error:
            outcome = error
            self._note(error)
        except BaseException:
            # Requests that wait for the same answer must end too.
            future.cancel()
            raise
        future.set_result(outcome)
        return outcome

    def _hash(self, request: ChatRequest) -> str:
        return answer_hash(self.profile.name, request, self.profile.changes)

    def _note(self, error: LlmError) -> None:
        """One request may crash a server; several failures in a row mean that it is down or not a model server."""
        self._given_up += error.retryable or isinstance(error, LlmUnreadableError)
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
        # A recorded refusal has to fail again, as it did when it was bought.
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
            omitted=recorded.omitted,
        )

    async def _buy(self, hashed: str, request: ChatRequest) -> RecordedAnswer:
        """One call for all samples if the server allows it, else one call per sample, each recorded by itself."""
        self._check_model(request)
        learned = learned_limits(self.profile, request.model)
        learned.single = learned.single or "n" in self.profile.omit
        if request.n > 1 and learned.single:
            return await self._buy_singly(hashed, request, {})
        answer = await self._buy_once(hashed, request)
        if len(answer.texts) >= request.n:
            return answer
        # The server ignored `n`. What it returned is kept, and later requests ask for one sample each.
        learned.single = True
        return await self._buy_singly(hashed, request, parts_of(answer))

    async def _buy_singly(self, hashed: str, request: ChatRequest, parts: dict[int, RecordedAnswer]) -> RecordedAnswer:
        missing = [place for place in range(request.n) if place not in parts]
        # All calls are awaited even if one fails: the others are paid and get recorded.
        found = await asyncio.gather(*(self._buy_sample(request, place) for place in missing), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        parts |= {place: one for place, one in zip(missing, found, strict=True) if isinstance(one, RecordedAnswer)}
        rows = [parts[place] for place in range(request.n)]
        whole = RecordedAnswer(
            endpoint=self.profile.name,
            request=request,
            served_model=rows[0].served_model,
            texts=[row.texts[0] for row in rows],
            finish_reasons=[row.finish_reasons[0] for row in rows],
            prompt_tokens=sum(row.prompt_tokens for row in rows),
            completion_tokens=sum(row.completion_tokens for row in rows),
            usage_reported=all(row.usage_reported for row in rows),
            seconds=max(row.seconds for row in rows),
            omitted=sorted({name for row in rows for name in row.omitted}),
        )
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self.log.record, hashed, whole))
        return whole

    async def _buy_sample(self, request: ChatRequest, place: int) -> RecordedAnswer:
        one = single_request(request, place)
        hashed = self._hash(one)
        if (recorded := await asyncio.to_thread(self.log.find, hashed)) is not None:
            return recorded
        return await self._buy_once(hashed, one)

    async def _buy_once(self, hashed: str, request: ChatRequest) -> RecordedAnswer:
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
            paid = worst  # an aborted call counts at its worst case
            try:
                answer = await self._call(hashed, request, call)
            except LlmContentFilterError:
                answer = self._refusal(request)  # recorded like an answer: a rerun of the job must end the same
            except LlmError as error:
                paid = worst if error.may_be_billed else Cost()
                raise
            paid = self._paid(answer, worst)
            # Passed to a thread without an await in between: an abort must not lose what is paid. If samples are
            # missing, those that came are recorded by themselves.
            record = self._record if len(answer.texts) >= request.n else self._record_parts
            stored = asyncio.get_running_loop().run_in_executor(None, record, hashed, answer)
        finally:
            self.budget.settle(worst, paid)
        await asyncio.shield(stored)
        return answer

    async def _call(self, hashed: str, request: ChatRequest, call: CallSlot) -> RecordedAnswer:
        """One call, whose outcome the limiter learns whatever it is."""
        try:
            learned = learned_limits(self.profile, request.model)
            answer = await call_once(self.client, self.profile, request, hashed, learned)
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
        """Waits while calls in flight hold the rest of the budget, but not forever: their process may have died."""
        patience = 2.0 * self.profile.timeout_s
        while not self.budget.reserve(worst, self.profile.name, request.model, last=patience <= 0.0):
            await asyncio.sleep(BUDGET_POLL_S)
            patience -= BUDGET_POLL_S

    def _record_parts(self, _: str, answer: RecordedAnswer) -> None:
        """Records each sample separately: these are paid and must not be bought again."""
        for part in parts_of(answer).values():
            self.log.record(self._hash(part.request), part)
        self._count_paid(answer)

    def _record(self, hashed: str, answer: RecordedAnswer) -> None:
        self.log.record(hashed, answer)
        self._count_paid(answer)

    def _count_paid(self, answer: RecordedAnswer) -> None:
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


def single_request(request: ChatRequest, place: int) -> ChatRequest:
    if place == 0:
        return request.model_copy(update={"n": 1})
    # Another seed and try number, or all samples would share one recorded answer.
    seed = None if request.seed is None else (request.seed + place) % 2**31
    return request.model_copy(update={"n": 1, "seed": seed, "try_number": request.try_number + SAMPLE_STEP * place})


def parts_of(answer: RecordedAnswer) -> dict[int, RecordedAnswer]:
    """An answer's samples by place, as answers of their own; the first carries the cost of all."""
    parts: dict[int, RecordedAnswer] = {}
    for place, (text, reason) in enumerate(zip(answer.texts, answer.finish_reasons, strict=True)):
        paid = {} if place == 0 else {"prompt_tokens": 0, "completion_tokens": 0}
        one = {"request": single_request(answer.request, place), "texts": [text], "finish_reasons": [reason], **paid}
        parts[place] = answer.model_copy(update=one)
    return parts


class ChatClient:
    """Calls one endpoint. Recorded answers come from the store; new ones are stored before they are returned.

    `on_usage` is called once per answer, recorded or bought, from a thread of the client and never twice at once. When
    `abort` is set, calls in flight are dropped within a second and `LostLeaseError` is raised.
    """

    def __init__(
        self,
        profile: EndpointProfile,
        store: ObjectStore,
        *,
        budget: Budget | None = None,
        on_usage: UsageCallback | None = None,
        abort: threading.Event | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        if budget is not None:
            budget.check_prices(profile)
        self.profile, self.budget = profile, budget
        self.policy = policy or RetryPolicy()
        self._abort = abort or threading.Event()
        self._log = AnswerLog(store, self._abort)
        self._callback = on_usage
        self._callback_lock = threading.Lock()

    def stream_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatAnswer | SenseError]]:
        """Index and answer as they arrive; an error in an answer's place concerns that request only.

        After a fatal error (key, quota, model, budget, endpoint down, or too many failures) the remaining requests get
        that error without a call. Leaving the iterator early drops the calls in flight.
        """
        requests = list(requests)
        outcomes: queue.SimpleQueue[tuple[int, Outcome] | BaseException | None] = queue.SimpleQueue()
        ended = threading.Event()

        async def answer_all() -> None:
            failure: BaseException | None = None
            try:
                async with process_connections.client(self.profile) as client:
                    await self._make_batch(client).run(requests, lambda *outcome: outcomes.put(outcome))
            except BaseExceptionGroup as group:
                failure = _first_cause(group)
            except Exception as error:
                failure = error
            finally:
                outcomes.put(failure)  # None ends the iterator
                ended.set()

        self._check_abort()
        process_connections = connections()
        future = process_connections.start(answer_all())
        try:
            while True:
                self._check_abort()
                try:
                    outcome = outcomes.get(timeout=ABORT_POLL_S)
                except queue.Empty:
                    continue
                if outcome is None:
                    return
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            if future.cancel():  # drops what is in flight, without waiting for a store that hangs
                ended.wait(JOIN_S)

    def _make_batch(self, client: "openai.AsyncOpenAI") -> Batch:
        on_usage = self._report if self._callback is not None else None
        return Batch(
            self.profile, client=client, log=self._log, policy=self.policy, budget=self.budget, on_usage=on_usage
        )

    def _check_abort(self) -> None:
        if self._abort.is_set():
            raise LostLeaseError(
                f"the calls to endpoint {self.profile.name!r} were aborted: the shard is no longer this worker's"
            )

    def _report(self, usage: Usage) -> None:
        with self._callback_lock:
            if self._callback is not None:
                self._callback(usage)


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_cause(first) if isinstance(first, BaseExceptionGroup) else first
