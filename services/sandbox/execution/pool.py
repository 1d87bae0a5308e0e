"""Children that run queries, and one that builds databases: thread-safe, and replaced when they die."""

import signal
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from services.sandbox.execution.child_process import ChildDiedError, ChildProcess, OverrunError
from services.sandbox.execution.database_files import FileIdentities
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.requests import BatchPlan, Execution, ExecutionRequest, StatementBatch
from shared.contracts.records import Outcome
from shared.errors import CancelledError, ConflictError, InvalidInputError, UnavailableError

BUILD_CHILD = "services.sandbox.building.child"
STARTS = 3  # a child that dies before it begins did not die of its request
MAX_BUILDS = 500  # by one child: whatever a script may leave behind ends with it


class BuildProcess:
    """The child that builds databases, kept between builds because starting an interpreter costs more than a build.

    Serves one caller at a time. A child that dies, overruns or has built `MAX_BUILDS` databases is replaced.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._turn = threading.Lock()
        self._child: ChildProcess | None = None
        self._built = 0
        self._ended = False

    def ask(self, message: dict[str, Any], deadline_s: float, files: Sequence[int]) -> dict[str, Any]:
        """Raises OverrunError, ChildDiedError, UnavailableError, or CancelledError after `kill`."""
        with self._turn:
            for _ in range(STARTS):
                try:
                    return self._take().ask(message, deadline_s, files)
                except BaseException as error:
                    self._drop()  # a late reply must not be taken for the next one's
                    if self._ended and isinstance(error, OverrunError | ChildDiedError):
                        raise CancelledError("The sandbox was stopped while it built a database.") from None
                    if not isinstance(error, ChildDiedError) or error.started:
                        raise
        raise UnavailableError("Sandbox children die before they start; run `sense doctor`.")

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def kill(self) -> None:
        """Can come from any thread; waiting and later calls get CancelledError."""
        self._ended = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        self.kill()
        with self._turn:
            self._drop()

    def _take(self) -> ChildProcess:
        if self._built >= MAX_BUILDS or (self._child is not None and not self._child.alive):
            self._drop()
        if self._child is None:
            try:
                self._child = ChildProcess(self.limits, BUILD_CHILD)
            except OSError as error:
                raise UnavailableError(f"A sandbox child cannot be started: {error}.") from error
        # `kill` may have come while the child was being started
        if self._ended:
            self._child.kill()
        self._built += 1
        return self._child

    def _drop(self) -> None:
        child, self._child, self._built = self._child, None, 0
        if child is not None:
            child.kill()
            child.reap()


class SandboxPool:
    """Up to `children` processes, started when first needed. A context manager.

    With `tolerant`, a damaged file does not end the call: its statements count as `killed`, and `damaged` names it.
    """

    def __init__(self, children: int = 2, limits: Limits | None = None, *, tolerant: bool = False) -> None:
        if children < 1:
            raise InvalidInputError(f"A sandbox needs at least one child, not {children}.")
        self.children = children
        self.limits = limits or Limits()
        self.files = FileIdentities(self.limits.file_bytes)
        self.builder = BuildProcess(self.limits)
        self.tolerant = tolerant
        self.damaged: dict[Path, str] = {}
        self._free: list[ChildProcess | None] = [None] * children
        self._all: set[ChildProcess] = set()
        self._ready = threading.Condition()
        self._end: str | None = None

    def execute(self, database: Path, sql: str, *, deadline_s: float | None = None, keep_rows: int = 20) -> Execution:
        """Raises NotFoundError or InvalidInputError for an unusable database or budget."""
        return self.run(ExecutionRequest(database, sql, deadline_s, keep_rows))

    def run(self, request: ExecutionRequest) -> Execution:
        return self.execute_many([request])[0]

    def execute_many(self, requests: Sequence[ExecutionRequest]) -> list[Execution]:
        """Run all requests over the children, equal ones once; results come in the order of the requests."""
        plan = BatchPlan(requests, self.limits, self.files)
        todo = deque(plan.batches())
        workers = min(self.children, len(todo))
        # one batch needs no thread
        if workers < 2:
            self._work(plan, todo)
            return plan.results()
        with ThreadPoolExecutor(workers) as threads:
            running = [threads.submit(self._work, plan, todo) for _ in range(workers)]
        for worker in running:
            worker.result()
        return plan.results()

    def describe(self, database: Path, sample_rows: int) -> list[dict[str, Any]]:
        tables: list[dict[str, Any]] = self.describe_all(database, sample_rows)["tables"]
        return tables

    def describe_all(self, database: Path, sample_rows: int) -> dict[str, Any]:
        statement = {"sql": "", "deadline_s": self.limits.gold_deadline_s, "sample_rows": sample_rows}
        batch = StatementBatch(database, self.files.identity(database), [0], [statement])
        replies = self._serve(batch, {**batch.message(), "op": "describe"})
        if "tables" not in replies[0]:
            raise InvalidInputError(f"{database} cannot be described: {replies[0]['message']}.")
        return replies[0]

    @property
    def ended(self) -> bool:
        return self._end is not None

    def pids(self) -> list[int]:
        with self._ready:
            return sorted(child.pid for child in self._all if child.alive)

    def kill(self) -> None:
        """Waiting and later calls get CancelledError."""
        self.builder.kill()
        with self._ready:
            self._end = "killed"
            for child in self._all:
                child.kill()
            self._ready.notify_all()

    def close(self) -> None:
        self.builder.close()
        with self._ready:
            # `killed` stays, so that waiting calls get CancelledError
            self._end = self._end or "closed"
            children, self._all = list(self._all), set()
            idle, self._free = [child for child in self._free if child is not None], []
            self._ready.notify_all()
        for child in children:
            child.kill()
            child.process.wait()
        for child in idle:
            child.reap()

    def __enter__(self) -> "SandboxPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _work(self, plan: BatchPlan, todo: deque[StatementBatch]) -> None:
        try:
            while True:
                try:
                    batch: StatementBatch | None = todo.popleft()
                except IndexError:
                    return
                while batch is not None:
                    replies = self._serve(batch, batch.message())
                    for number, reply in replies.items():
                        plan.answers[batch.places[number]] = Execution.from_reply(reply)
                    batch = batch.without(*replies) if len(replies) < len(batch.places) else None
        except BaseException:
            # the other threads stop at their next batch
            todo.clear()
            raise

    def _serve(self, batch: StatementBatch, message: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Replies by statement: all of them, or those up to and including the one at which the child died."""
        deadlines = [statement["deadline_s"] for statement in batch.statements]
        for _ in range(STARTS):
            replies: list[dict[str, Any]] = []
            child = self._take()
            try:
                child.send(message)
                while len(replies) < len(deadlines):
                    replies += child.replies(deadlines)
                return {number: self._usable(batch.database, replies[number]) for number in range(len(deadlines))}
            except OverrunError as overrun:
                self._check_end()
                return {**dict(enumerate(replies)), overrun.at: timeout_reply(deadlines[overrun.at])}
            except ChildDiedError as death:
                self._check_end()
                if death.started:
                    # the child wrote this number itself and may be hostile: keep it in range
                    at = min(max(death.at, len(replies)), len(deadlines) - 1)
                    return {**dict(enumerate(replies)), at: died_reply(death, deadlines[at])}
            finally:
                self._give(child)
        raise UnavailableError("Sandbox children die before they start; run `sense doctor`.")

    def _usable(self, database: Path, reply: dict[str, Any]) -> dict[str, Any]:
        """Raises InvalidInputError when the child could not read the file as a database."""
        if "unusable" not in reply:
            return reply
        message = f"{database} is damaged or not a SQLite database: {reply['unusable']}."
        if not self.tolerant:
            raise InvalidInputError(message)
        self.damaged.setdefault(database, message)
        return {"outcome": Outcome.KILLED.value, "message": message, "sandbox_limited": True}

    def _check_end(self) -> None:
        if self._end == "killed":
            raise CancelledError("The sandbox was stopped while it ran a query.")
        if self._end:
            raise ConflictError("The sandbox is closed; open another one.")

    def _take(self) -> ChildProcess:
        with self._ready:
            while not self._free and not self._end:
                self._ready.wait()
            self._check_end()
            child = self._free.pop()
            if child is not None and child.alive:
                return child
            if child is not None:
                self._all.discard(child)
                child.reap()
            try:
                child = ChildProcess(self.limits)
            except OSError as error:
                self._free.append(None)
                raise UnavailableError(f"A sandbox child cannot be started: {error}.") from error
            self._all.add(child)
            return child

    def _give(self, child: ChildProcess) -> None:
        with self._ready:
            if child.alive and not self._end:
                self._free.append(child)
            else:
                self._all.discard(child)
                self._free.append(None)
            self._ready.notify()


def died_reply(death: ChildDiedError, deadline_s: float) -> dict[str, Any]:
    # the kernel ends a child that used too much CPU
    if death.status == -signal.SIGXCPU:
        return timeout_reply(deadline_s)
    message = f"the query ended its process (exit status {death.status})"
    return {"outcome": Outcome.KILLED.value, "message": message, "sandbox_limited": True}


def timeout_reply(deadline_s: float) -> dict[str, Any]:
    message = "the query ran past its deadline and was killed"
    return {"outcome": Outcome.TIMEOUT.value, "message": message, "elapsed_ms": round(deadline_s * 1000, 3)}


def execute_once(database: Path, sql: str, *, deadline_s: float = 2.0, max_rows: int = 100) -> dict[str, Any]:
    """Run one SQL on one file without a cluster, as a dict for `sense execute`.

    At most `max_rows` rows are returned; row_count is that of the whole result. Raises NotFoundError or
    InvalidInputError for an unusable file, deadline or row limit.
    """
    with SandboxPool(children=1, limits=replace(Limits(), deadline_s=deadline_s)) as pool:
        execution = pool.execute(database, sql, keep_rows=max_rows)
    return execution.shown()
