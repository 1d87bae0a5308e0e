"""A few children that serve queries: thread safe, and whole again after each death."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from services.sandbox.execution import Execution, Request
from services.sandbox.files import identify
from services.sandbox.limits import Limits, checked_deadline
from services.sandbox.process import ChildDiedError, ChildProcess, OverrunError
from shared.contracts.records import Outcome
from shared.errors import CancelledError, ConflictError, InvalidInputError, UnavailableError

STARTS = 3


class SandboxPool:
    """Up to `children` processes, started when first needed. A context manager."""

    def __init__(self, children: int = 2, limits: Limits | None = None) -> None:
        if children < 1:
            raise InvalidInputError(f"A sandbox needs at least one child, not {children}.")
        self.children = children
        self.limits = limits or Limits()
        self._free: list[ChildProcess | None] = [None] * children
        self._all: set[ChildProcess] = set()
        self._ready = threading.Condition()
        self._end: str | None = None

    def execute(self, database: Path, sql: str, *, deadline_s: float | None = None, keep_rows: int = 20) -> Execution:
        """Run one SQL. Raises NotFoundError or InvalidInputError for what is not a sound database or budget."""
        return self.run(Request(database, sql, deadline_s, keep_rows))

    def execute_many(self, requests: Sequence[Request]) -> list[Execution]:
        """Run all, spread over the children; answers in the order of the requests."""
        if self.children == 1 or len(requests) < 2:
            return [self.run(request) for request in requests]
        with ThreadPoolExecutor(min(self.children, len(requests))) as threads:
            return list(threads.map(self.run, requests))

    def run(self, request: Request) -> Execution:
        """One request on a free child."""
        deadline = checked_deadline(self.limits.deadline_s if request.deadline_s is None else request.deadline_s)
        if request.keep_rows < 0:
            raise InvalidInputError(f"keep_rows is {request.keep_rows}; give 0 or more.")
        identity = identify(request.database)
        refused = unsendable(request.sql, self.limits)
        if refused is not None:
            return refused
        message = request.message(str(request.database.absolute()), identity, deadline)
        return Execution.from_reply(self._usable(request.database, self._serve(message, deadline)))

    def describe(self, database: Path, sample_rows: int) -> list[dict[str, Any]]:
        """Tables of a database as plain data, for `make_card`. Raises InvalidInputError when it takes too long."""
        deadline, path = self.limits.gold_deadline_s, str(database.absolute())
        message = {"op": "describe", "database": path, "identity": identify(database), "sample_rows": sample_rows}
        reply = self._usable(database, self._serve({**message, "deadline_s": deadline}, deadline))
        if "tables" not in reply:
            raise InvalidInputError(f"{database} cannot be described: {reply['message']}.")
        tables: list[dict[str, Any]] = reply["tables"]
        return tables

    def pids(self) -> list[int]:
        """Process ids of the children that run now."""
        with self._ready:
            return sorted(child.pid for child in self._all if child.alive)

    def kill(self) -> None:
        """SIGKILL every child at once; whoever waits or calls later gets CancelledError."""
        with self._ready:
            self._end = "killed"
            for child in self._all:
                child.kill()
            self._ready.notify_all()

    def close(self) -> None:
        """End all children and wait for them; calls that still run are cut off."""
        with self._ready:
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

    def _usable(self, database: Path, reply: dict[str, Any]) -> dict[str, Any]:
        if "unusable" in reply:
            raise InvalidInputError(f"{database} is damaged or not a SQLite database: {reply['unusable']}.")
        return reply

    def _serve(self, message: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        for _ in range(STARTS):
            child = self._take()
            try:
                return child.ask(message, deadline_s)
            except OverrunError:
                self._check_end()
                said = "the query ran past its deadline and was killed"
                return {"outcome": "timeout", "message": said, "elapsed_ms": round(deadline_s * 1000, 3)}
            except ChildDiedError as death:
                self._check_end()
                if death.started:
                    return {"outcome": "killed", "message": f"the query ended its process (exit status {death.status})"}
            finally:
                self._give(child)
        raise UnavailableError("Sandbox children die before they start; run `python -m services.sandbox.child '{}'`.")

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
            return self._start()

    def _start(self) -> ChildProcess:
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


def unsendable(sql: str, limits: Limits) -> Execution | None:
    """The outcome of a text that need not reach a child: too long, or not text that SQLite takes."""
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        return Execution(Outcome.SYNTAX_ERROR, message="the SQL holds a character that is not valid Unicode")
    if size > limits.sql_bytes:
        return Execution(Outcome.BYTE_LIMIT, message=f"the SQL has {size} bytes; at most {limits.sql_bytes} are run")
    if "\x00" in sql:
        return Execution(Outcome.SYNTAX_ERROR, message=f"the SQL holds a NUL character at position {sql.index(chr(0))}")
    return None
