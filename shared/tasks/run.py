"""The base of every task: claim, heartbeat, work, one atomic finish."""

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from pydantic import ValidationError

from shared.contracts.base import Command, Counts, Fact, TaskContract
from shared.contracts.refs import ObjectRef
from shared.errors import SenseError, UnavailableError
from shared.jobs.connect import connect_redis
from shared.jobs.rows import summarize
from shared.jobs.state import ErrorInfo
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.metrics import SHARD_SECONDS, SHARDS
from shared.settings import LeaseSettings, RedisSettings
from shared.storage.open import StoreSettings, open_store
from shared.tasks.heartbeat import Heartbeat
from shared.tasks.shard import Shard
from shared.tasks.watchdog import watched

log = get_logger()
C = TypeVar("C", bound=Command)


@dataclass(frozen=True, slots=True)
class Done:
    """What a task leaves: its counts, and its outputs by name."""

    counts: Counts
    outputs: dict[str, ObjectRef] = field(default_factory=dict)


Work = Callable[[C, Shard], Done]
T = TypeVar("T")
SETTLE_PAUSE_S = 1.0


def worker_id() -> str:
    """The worker process above this child: its host and pid."""
    return f"{socket.gethostname()}:{os.getppid()}"


def register_task(app: Celery, contract: TaskContract, work: Work[C]) -> None:
    """Makes `work` the Celery task of a contract."""

    def run(command: dict[str, Any]) -> None:
        try:
            parsed = contract.command.model_validate(command)
        except ValidationError as error:
            reason = f"this worker cannot read the command for {contract.name} ({summarize(error)})"
            refuse_command(command, reason)
        else:
            run_shard(contract, parsed, work)

    limits = {} if contract.hard_limit_s is None else {"time_limit": contract.hard_limit_s}
    options: dict[str, Any] = {"name": contract.name, "ignore_result": True, **limits}
    app.task(**options)(run)


def refuse_command(command: Any, reason: str) -> None:
    """Fails an attempt that this worker cannot begin: unclaimed, its message would come again for ever.

    It is made again after a pause, by a worker that can where versions are mixed during an upgrade; after the last
    attempt the shard fails with this reason.
    """
    log.error("command.refused", error=reason)
    try:
        named = {name: value for name, value in dict(command).items() if name in Command.model_fields}
        head = Command.model_validate({**named, "correlation_id": ""})  # only logs need that one
    except (ValidationError, TypeError, ValueError):
        return  # whose it was nobody knows: it counts as never claimed
    redis, lease = RedisSettings(), LeaseSettings()
    jobs = JobStore(connect_redis(redis), redis.prefix)
    where, token = (head.job_id, head.stage, head.shard), uuid.uuid4().hex
    if jobs.claim(*where, head.attempt, token=token, worker=worker_id(), lease_s=lease.seconds) == "ok":
        message = f"{reason}: workers and orchestrator are of different versions; bring all of them to one, then retry"
        error = ErrorInfo(code="other_version", message=message, retryable=True)
        jobs.fail(*where, token=token, error=error, pause_s=retry_pause_s(head.attempt))


def retry_pause_s(attempt: int) -> float:
    """Doubles with every attempt, up to 64 times: checkpoints let attempts go on counting."""
    return float(LeaseSettings().retry_pause_s * 2 ** min(6, attempt - 1))


def run_shard(contract: TaskContract, command: Command, work: Callable[[Any, Shard], Done]) -> None:
    """Runs one shard where the claim is granted; a message without a claim ends here, quietly."""
    redis = RedisSettings()
    jobs = JobStore(connect_redis(redis), redis.prefix)
    where = (command.job_id, command.stage, command.shard)
    token, worker = uuid.uuid4().hex, worker_id()
    answer = jobs.claim(*where, command.attempt, token=token, worker=worker, lease_s=LeaseSettings().seconds)
    if answer != "ok":
        log.info("shard.not_claimed", answer=answer, stage=command.stage, shard=command.shard)
        return
    heartbeat = Heartbeat(renewing_store(redis), where, token=token, worker=worker)
    heartbeat.start()
    bound = structlog.contextvars.bound_contextvars(
        job=command.job_id, stage=command.stage, shard=command.shard, request=command.correlation_id
    )
    with bound, SHARD_SECONDS.labels(task=contract.name).time(), watched(command, token):
        Attempt(contract, command, jobs, heartbeat, token).run(work)


def renewing_store(redis: RedisSettings) -> JobStore:
    """On a connection of its own whose calls end well within a lease: the heartbeat itself tries again."""
    return JobStore(connect_redis(redis, timeout_s=LeaseSettings().renew_s / 2, retries=0), redis.prefix)


class Attempt:
    """One claimed attempt, from work to settlement."""

    def __init__(
        self, contract: TaskContract, command: Command, jobs: JobStore, heartbeat: Heartbeat, token: str
    ) -> None:
        self.contract = contract
        self.command = command
        self.jobs = jobs
        self.heartbeat = heartbeat
        self.token = token
        self.where = (command.job_id, command.stage, command.shard)

    def run(self, work: Callable[[Any, Shard], Done]) -> None:
        """Works and settles; whatever goes wrong ends in the row, with a sentence."""
        try:
            shard = Shard(self.command, self.jobs, open_store(StoreSettings()), self.heartbeat)
            done = work(self.command, shard)
            self.heartbeat.stop()
            self.finish(done)
        except Exception as error:
            self.heartbeat.stop()
            self.settle_failure(error)
        except BaseException:
            self.heartbeat.stop()
            self.patiently(lambda: self.jobs.hand_back(*self.where, token=self.token))
            raise

    def patiently(self, settle: Callable[[], T]) -> T:
        """A Redis that is away for a moment (a restart, a failover, a script that blocks it) costs no finished work:
        settling is tried again for as long as the lease may hold. Raises `UnavailableError` then."""
        while True:
            try:
                return settle()
            except UnavailableError as error:
                if self.heartbeat.lease_left_s() <= SETTLE_PAUSE_S:
                    raise
                log.warning("shard.not_settled", error=error.message)
                time.sleep(SETTLE_PAUSE_S)

    def finish(self, done: Done) -> None:
        """Records the result; unknown outputs are a bug of the service, named at once."""
        if unknown := set(done.outputs) - set(self.contract.outputs):
            raise SenseError(f"{self.contract.name} left outputs {sorted(unknown)} that its contract does not name")
        command = self.command
        fact = Fact(
            name=self.contract.fact,
            job_id=command.job_id,
            stage=command.stage,
            shard=command.shard,
            attempt=command.attempt,
            outputs=done.outputs,
        )
        kept = self.patiently(lambda: self.jobs.finish(fact, done.counts, token=self.token))
        SHARDS.labels(task=self.contract.name, end="done" if kept else "lost").inc()
        log.info("shard.done" if kept else "shard.lost", **done.counts.model_dump())

    def settle_failure(self, error: Exception) -> None:
        """Maps what stopped the work to the row's next state."""
        reason = self.heartbeat.reason
        if reason == "draining":
            self.patiently(lambda: self.jobs.hand_back(*self.where, token=self.token))
        elif reason == "cancelling":
            self.patiently(lambda: self.jobs.hand_back(*self.where, token=self.token, cancelled=True))
        elif reason is None:
            info = describe(error)
            log.error("shard.failed", code=info.code, error=info.message, exc_info=not isinstance(error, SenseError))
            pause_s = retry_pause_s(self.command.attempt)
            self.patiently(lambda: self.jobs.fail(*self.where, token=self.token, error=info, pause_s=pause_s))
        SHARDS.labels(task=self.contract.name, end=reason or "failed").inc()


def describe(error: Exception) -> ErrorInfo:
    """An exception as the row keeps it. What is not ours is tried again: it may be the machine's."""
    if isinstance(error, SenseError):
        return ErrorInfo(code=error.code, message=error.message, retryable=error.retryable)
    if isinstance(error, SoftTimeLimitExceeded):
        return ErrorInfo(code="time_limit", message="the shard ran past its time limit", retryable=True)
    if isinstance(error, ValidationError):
        return ErrorInfo(code="bad_data", message=f"data of another shape: {error}"[:1000], retryable=False)
    return ErrorInfo(code="internal_error", message=f"{type(error).__name__}: {error}"[:1000], retryable=True)
