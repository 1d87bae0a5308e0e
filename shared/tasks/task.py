"""How a task runs on a shard: claim it, work under a heartbeat, settle it in one step.

A service registers a function for each of its contracts. The function gets the command and a `Shard`, through which it
reads its inputs, writes its outputs and reports progress, and it returns a `TaskResult`.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from pydantic import BaseModel, ValidationError

from shared.contracts.base import Command, Counts, ObjectRef, RecordSlice, ShardFinished, StageRef, TaskContract
from shared.errors import NotFoundError, SenseError, UnavailableError
from shared.jobs.events import JobEvents
from shared.jobs.finished import archived_key
from shared.jobs.state import ErrorInfo, ShardRecord, summarize_error
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.metrics import SHARD_SECONDS, SHARDS
from shared.redis import connect_redis
from shared.settings import LeaseSettings, PathSettings, RedisSettings
from shared.storage.keys import export_key, shard_key
from shared.storage.open import StoreSettings, open_store
from shared.storage.records import dump_records, read_records, read_slice
from shared.storage.store import ObjectStore
from shared.tasks.liveness import Heartbeat, watched

M = TypeVar("M", bound=BaseModel)


class Shard:
    """A claimed shard. Keys of outputs contain the attempt, so a late attempt overwrites nothing."""

    def __init__(self, command: Command, jobs: JobStore, objects: ObjectStore, heartbeat: Heartbeat) -> None:
        self.command = command
        self.jobs = jobs
        self.objects = objects
        self.heartbeat = heartbeat

    @property
    def abort(self) -> threading.Event:
        return self.heartbeat.abort

    def on_abort(self, action: Callable[[], None]) -> None:
        self.heartbeat.on_abort(action)

    def key(self, name: str, suffix: str = "jsonl") -> str:
        command = self.command
        return shard_key(command.job_id, command.stage, command.shard, command.attempt, f"{name}.{suffix}")

    def write_records(self, name: str, rows: Iterable[BaseModel]) -> ObjectRef:
        return self.objects.put(self.key(name), dump_records(rows))

    def write_text(self, name: str, text: str, suffix: str) -> ObjectRef:
        return self.objects.put(self.key(name, suffix), text.encode())

    def export(self, name: str, data: bytes) -> ObjectRef:
        """Stores a file under `export/` of the stage. Twins write equal bytes, so the key has no attempt."""
        return self.objects.put(export_key(self.command.job_id, self.command.stage, name), data)

    def export_file(self, name: str, path: Path) -> ObjectRef:
        """As `export`, from a local file that need not fit in memory."""
        return self.objects.put_file(export_key(self.command.job_id, self.command.stage, name), path)

    def refs(self, stage: StageRef, output: str) -> list[ObjectRef]:
        """Returns one output of all finished shards, in order. Raises `NotFoundError` if another job has none."""
        found = self.jobs.outputs(stage.job_id or self.command.job_id, stage.stage, output)
        # checked after the read: while a job leaves, Redis may hold only part of it
        if stage.job_id and not self.jobs.knows(stage.job_id):
            found = self._archived_refs(stage.job_id, stage.stage, output)
        if not found and stage.job_id:
            raise NotFoundError(f"job {stage.job_id} has no output {output} of stage {stage.stage}")
        return found

    def _archived_refs(self, job_id: str, stage: str, output: str) -> list[ObjectRef]:
        try:
            key = archived_key(self.objects, job_id, "rows.jsonl")
        except NotFoundError:
            return []
        rows = [
            row for row in read_records(self.objects, key, ShardRecord) if row.stage == stage and row.state == "done"
        ]
        return [row.outputs[output] for row in rows if output in row.outputs]

    def stage_records(self, stage: StageRef, output: str, model: type[M]) -> Iterator[M]:
        for ref in self.refs(stage, output):
            yield from read_records(self.objects, ref, model)

    def rows(self, source: ObjectRef | RecordSlice, model: type[M]) -> list[M]:
        if isinstance(source, ObjectRef):
            return list(read_records(self.objects, source, model))
        refs = self.refs(source.stage, source.output)
        return list(read_slice(self.objects, refs, source.offset, source.limit, model, PathSettings().records))

    def checkpointed(self) -> bool:
        """Reports that part of the work is safe in the object store; False if the lease is lost."""
        command = self.command
        return self.jobs.checkpointed(command.job_id, command.stage, command.shard, token=self.heartbeat.token)

    def progress(self, **data: Any) -> None:
        """Nothing depends on progress, so failures are ignored."""
        events = JobEvents(self.jobs.client, self.jobs.prefix, self.command.job_id)
        with suppress(UnavailableError):
            events.progress(self.command.stage, self.command.shard, data)


log = get_logger()
C = TypeVar("C", bound=Command)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The counts of a task and its outputs by name."""

    counts: Counts
    outputs: dict[str, ObjectRef] = field(default_factory=dict)


Work = Callable[[C, Shard], TaskResult]
T = TypeVar("T")
SETTLE_PAUSE_S = 1.0


def worker_id() -> str:
    return f"{socket.gethostname()}:{os.getppid()}"


def register_task(app: Celery, contract: TaskContract, work: Work[C]) -> None:

    def run(command: dict[str, Any]) -> None:
        try:
            parsed = contract.command.model_validate(command)
        except ValidationError as error:
            reason = f"this worker cannot read the command for {contract.name} ({summarize_error(error)})"
            refuse_command(command, reason)
        else:
            run_shard(contract, parsed, work)

    limits = {} if contract.hard_limit_s is None else {"time_limit": contract.hard_limit_s}
    options: dict[str, Any] = {"name": contract.name, "ignore_result": True, **limits}
    app.task(**options)(run)


def refuse_command(command: Any, reason: str) -> None:
    """Fails an attempt that this worker cannot start. Without a claim, its message would be sent again for ever.

    Another worker tries it after a pause; during an upgrade, that one may have the right version. After the last
    attempt the shard fails with this reason.
    """
    log.error("command.refused", error=reason)
    try:
        named = {name: value for name, value in dict(command).items() if name in Command.model_fields}
        head = Command.model_validate({**named, "correlation_id": ""})  # only logs use it
    except (ValidationError, TypeError, ValueError):
        return  # its shard is unknown: the message counts as never claimed
    redis, lease = RedisSettings(), LeaseSettings()
    jobs = JobStore(connect_redis(redis), redis.prefix)
    where, token = (head.job_id, head.stage, head.shard), uuid.uuid4().hex
    if jobs.claim(*where, head.attempt, token=token, worker=worker_id(), lease_s=lease.seconds) == "ok":
        message = f"{reason}: workers and orchestrator are of different versions; bring all of them to one, then retry"
        error = ErrorInfo(code="other_version", message=message, retryable=True)
        jobs.fail(*where, token=token, error=error, pause_s=retry_pause_s(head.attempt))


def retry_pause_s(attempt: int) -> float:
    """Doubles with every attempt, up to 64 times the first pause: checkpoints remove the limit on attempts."""
    return float(LeaseSettings().retry_pause_s * 2 ** min(6, attempt - 1))


def run_shard(contract: TaskContract, command: Command, work: Callable[[Any, Shard], TaskResult]) -> None:
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
    """A store on a separate connection. Its calls end well within a lease, and the heartbeat itself retries them."""
    return JobStore(connect_redis(redis, timeout_s=LeaseSettings().renew_s / 2, retries=0), redis.prefix)


class Attempt:
    """A claimed attempt, until it is settled."""

    def __init__(
        self, contract: TaskContract, command: Command, jobs: JobStore, heartbeat: Heartbeat, token: str
    ) -> None:
        self.contract = contract
        self.command = command
        self.jobs = jobs
        self.heartbeat = heartbeat
        self.token = token
        self.where = (command.job_id, command.stage, command.shard)

    def run(self, work: Callable[[Any, Shard], TaskResult]) -> None:
        """Records an exception in the shard. On `SystemExit` and the like it hands the shard back and raises."""
        try:
            shard = Shard(self.command, self.jobs, open_store(StoreSettings()), self.heartbeat)
            done = work(self.command, shard)
            # before settling: a renewal after it would find the lease gone and count as lost
            self.heartbeat.stop()
            self.finish(done)
        except Exception as error:
            self.heartbeat.stop()
            self.settle_failure(error)
        except BaseException:
            self.heartbeat.stop()
            self.settle_with_retries(lambda: self.jobs.hand_back(*self.where, token=self.token))
            raise

    def settle_with_retries(self, settle: Callable[[], T]) -> T:
        """Retries while the lease may hold, so that a restart or failover of Redis costs no finished work.

        Raises `UnavailableError` after that.
        """
        while True:
            try:
                return settle()
            except UnavailableError as error:
                if self.heartbeat.lease_left_s() <= SETTLE_PAUSE_S:
                    raise
                log.warning("shard.not_settled", error=error.message)
                time.sleep(SETTLE_PAUSE_S)

    def finish(self, done: TaskResult) -> None:
        # a bug of the service: readers find outputs by the names in the contract
        if unknown := set(done.outputs) - set(self.contract.outputs):
            raise SenseError(f"{self.contract.name} left outputs {sorted(unknown)} that its contract does not name")
        command = self.command
        fact = ShardFinished(
            name=self.contract.event,
            job_id=command.job_id,
            stage=command.stage,
            shard=command.shard,
            attempt=command.attempt,
            outputs=done.outputs,
        )
        # False means that the lease was lost: another attempt settles the shard
        kept = self.settle_with_retries(lambda: self.jobs.finish(fact, done.counts, token=self.token))
        SHARDS.labels(task=self.contract.name, end="done" if kept else "lost").inc()
        log.info("shard.done" if kept else "shard.lost", **done.counts.model_dump())

    def settle_failure(self, error: Exception) -> None:
        reason = self.heartbeat.reason
        if reason == "draining":
            self.settle_with_retries(lambda: self.jobs.hand_back(*self.where, token=self.token))
        elif reason == "cancelling":
            self.settle_with_retries(lambda: self.jobs.hand_back(*self.where, token=self.token, cancelled=True))
        # with another reason (lost, orphaned) the shard is no longer ours to settle
        elif reason is None:
            info = describe_error(error)
            log.error("shard.failed", code=info.code, error=info.message, exc_info=not isinstance(error, SenseError))
            pause_s = retry_pause_s(self.command.attempt)
            self.settle_with_retries(lambda: self.jobs.fail(*self.where, token=self.token, error=info, pause_s=pause_s))
        SHARDS.labels(task=self.contract.name, end=reason or "failed").inc()


def describe_error(error: Exception) -> ErrorInfo:
    """Unexpected exceptions are retryable, because the machine may be the reason."""
    if isinstance(error, SenseError):
        return ErrorInfo(code=error.code, message=error.message, retryable=error.retryable)
    if isinstance(error, SoftTimeLimitExceeded):
        return ErrorInfo(code="time_limit", message="the shard ran past its time limit", retryable=True)
    if isinstance(error, ValidationError):
        return ErrorInfo(code="bad_data", message=f"data of another shape: {error}"[:1000], retryable=False)
    return ErrorInfo(code="internal_error", message=f"{type(error).__name__}: {error}"[:1000], retryable=True)
