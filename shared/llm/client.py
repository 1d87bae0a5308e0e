"""The one client for every caller of a model: a synchronous face over concurrent calls."""

import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.errors import LostLeaseError, SenseError
from shared.llm.batch import Batch, Outcome
from shared.llm.budget import Budget
from shared.llm.connections import connections
from shared.llm.messages import ChatAnswer, ChatRequest, Usage, UsageCallback
from shared.llm.profiles import EndpointProfile
from shared.llm.replay import AnswerLog
from shared.llm.retry import RetryPolicy
from shared.storage.base import ObjectStore

if TYPE_CHECKING:
    import openai

ABORT_POLL_S = 0.05
JOIN_S = 0.5


class ChatClient:
    """Calls one endpoint. Recorded answers are taken from the store; new ones are stored before they are given out.

    `on_usage` is called once for each answer, cached or bought, from a thread of the client and never twice at
    once. When `abort` is set, calls in flight are dropped within a second and `LostLeaseError` is raised.
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

    def complete_many(self, requests: Sequence[ChatRequest]) -> list[ChatAnswer]:
        """Answers in the order of the requests. Raises the first request's error, after the others have ended."""
        outcomes = dict(self.stream_many(requests))
        for index in range(len(requests)):
            outcome = outcomes[index]
            if isinstance(outcome, SenseError):
                raise outcome
        return [answer for _, answer in sorted(outcomes.items()) if isinstance(answer, ChatAnswer)]

    def stream_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatAnswer | SenseError]]:
        """Index and answer as they come; an error in an answer's place concerns that request.

        After a fatal error (key, quota, model, budget, endpoint down, or more given up in a row than fly at
        once) the requests that are not yet bought get
        that error without a call. Leaving the iterator early drops the calls in flight.
        """
        run = _Run(self, list(requests))
        try:
            while (item := run.next()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            run.stop()

    def make_batch(self, client: "openai.AsyncOpenAI") -> Batch:
        """The work of one call, for the event loop that `client` belongs to."""
        on_usage = self._report if self._callback is not None else None
        return Batch(
            self.profile, client=client, log=self._log, policy=self.policy, budget=self.budget, on_usage=on_usage
        )

    def check_abort(self) -> None:
        """Raises `LostLeaseError` once the abort event is set."""
        if self._abort.is_set():
            raise LostLeaseError(
                f"the calls to endpoint {self.profile.name!r} were aborted: the shard is no longer this worker's"
            )

    def _report(self, usage: Usage) -> None:
        with self._callback_lock:
            if self._callback is not None:
                self._callback(usage)


class _Run:
    """A batch on the process's event loop, and the queue through which its outcomes leave."""

    def __init__(self, owner: ChatClient, requests: list[ChatRequest]) -> None:
        self._owner, self._requests = owner, requests
        self._out: queue.SimpleQueue[tuple[int, Outcome] | BaseException | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        owner.check_abort()
        self._connections = connections()  # one and the same for the loop and the client that belongs to it
        self._future = self._connections.start(self._main())

    def next(self) -> tuple[int, Outcome] | BaseException | None:
        """The next outcome; an exception that ended the run; None at the end."""
        while True:
            self._owner.check_abort()
            with suppress(queue.Empty):
                return self._out.get(timeout=ABORT_POLL_S)

    def stop(self) -> None:
        """Cancels what is in flight. A store that hangs does not hold the caller."""
        if self._future.cancel():
            self._ended.wait(JOIN_S)

    async def _main(self) -> None:
        try:
            await self._answer_all()
        except asyncio.CancelledError:
            self._out.put(None)
            raise
        except BaseExceptionGroup as group:
            self._out.put(_first_cause(group))
        except Exception as error:
            self._out.put(error)
        else:
            self._out.put(None)
        finally:
            self._ended.set()

    async def _answer_all(self) -> None:
        async with self._connections.client(self._owner.profile) as client:
            await self._owner.make_batch(client).run(self._requests, lambda i, outcome: self._out.put((i, outcome)))


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_cause(first) if isinstance(first, BaseExceptionGroup) else first
