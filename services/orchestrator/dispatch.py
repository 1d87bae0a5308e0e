"""Sends commands: at most twice the slots of a queue at a time, round-robin over jobs, so no large job starves others.

A shard from which no command can be made fails with the reason; the others of the round are sent.
"""

import uuid
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import redis
from celery import Celery
from kombu.exceptions import EncodeError, OperationalError

from shared.contracts.base import Command, Queue, StageRef, TaskContract, to_json
from shared.contracts.registry import CONTRACTS
from shared.errors import UnavailableError
from shared.jobs.plan import EachShard, JobPlan, Slices, StagePlan
from shared.jobs.state import DAMAGE_ERRORS, ErrorInfo, ShardRecord, summarize_error
from shared.jobs.store import JobStore, Load
from shared.jobs.workers import WorkerRegistry
from shared.logging import get_logger
from shared.metrics import LEASES_EXPIRED
from shared.redis import redis_errors
from shared.settings import LeaseSettings, RedisSettings
from shared.tasks.app import queue_key

log = get_logger()
Place = tuple[str, str, int]
T = TypeVar("T")
P = ParamSpec("P")


class Dispatcher:
    """Turns queued shards into Celery messages."""

    def __init__(self, store: JobStore, board: WorkerRegistry, celery: Celery) -> None:
        self.store = store
        self.board = board
        self.celery = celery
        self.settings = RedisSettings()
        self.lease_s = LeaseSettings().seconds

    def dispatch(self) -> int:
        """Fills every queue up to twice its slots; returns the number of shards taken."""
        loads = self.store.loads()
        if not any(load.jobs for load in loads.values()):
            return 0
        slots = self.board.living()
        taken: list[Place] = []
        for queue, load in loads.items():
            taken += self._of_queue([], self._take, queue, load, slots[queue.value])
        return self._send(taken)

    def reap(self) -> None:
        if expired := self.store.reap():
            LEASES_EXPIRED.inc(len(expired))
            log.warning("lease.expired", rows=expired)
        self.resend_lost()

    def resend_lost(self) -> int:
        """Sends shards again whose message was lost. Messages that still wait in Celery's list stay."""
        return sum(self._of_queue(0, self._resend, queue) for queue in Queue)

    def _of_queue(
        self, otherwise: T, step: Callable[Concatenate[Queue, P], T], queue: Queue, *args: P.args, **words: P.kwargs
    ) -> T:
        """Runs `step` on one queue. Damaged keys of a queue stop only that queue."""
        try:
            return step(queue, *args, **words)
        except DAMAGE_ERRORS as error:
            log.error("queue.unreadable", queue=queue.value, error=summarize_error(error))
            return otherwise

    def _take(self, queue: Queue, load: Load, slots: int) -> list[Place]:
        # one more shard for each slot waits in the queue, so that a free worker finds work at once
        room = 2 * max(slots, 1) - load.sent - load.running
        return self.store.take(queue, room) if load.jobs and room > 0 else []

    def _resend(self, queue: Queue) -> int:
        sent, _ = self.store.in_flight(queue)
        with redis_errors():
            waiting = self.store.client.llen(queue_key(self.settings, queue))
        # as many messages as sent shards: none is lost
        if not sent or waiting >= sent:
            return 0
        count = self.store.resend(queue, self.lease_s, vanished=waiting == 0)
        if count:
            log.warning("dispatch.resent", queue=queue.value, rows=count)
        return count

    def _send(self, taken: list[Place]) -> int:
        """Reads all shards of a round in one exchange and their jobs in another, then sends the messages."""
        if not taken:
            return 0
        plans = {job_id: self._plan(job_id) for job_id in dict.fromkeys(job for job, _, _ in taken)}
        stages = {(job, name): find_stage(plans[job], name) for job, name, _ in taken}
        upstream: dict[Place, Place] = {}  # of shards that work on the output of one shard upstream
        for place in taken:
            stage = stages[place[:2]]
            if stage is not None and isinstance(stage.source, EachShard):
                upstream[place] = (place[0], stage.source.stage, place[2])
        places = [*taken, *upstream.values()]
        rows = dict(zip(places, self.store.readable_shards_at(places), strict=True))
        requests = self.store.request_ids(plans)
        for place in taken:
            stage, row = stages[place[:2]], rows[place]
            before = rows[upstream[place]] if place in upstream else None
            if stage is None or row is None:
                continue  # the job has left, or its plan cannot be read: then it is marked as damaged and ends
            try:
                command = make_command(requests[place[0]], place[0], stage, row, before)
            except DAMAGE_ERRORS as error:
                self._refuse(place, error)
            else:
                self._send_one(place, CONTRACTS[stage.task], command)
        return len(taken)

    def _plan(self, job_id: str) -> JobPlan | None:
        try:
            return self.store.plan(job_id)
        except DAMAGE_ERRORS as error:
            self.store.mark_damaged(job_id, f"its plan cannot be read: {summarize_error(error)}")
            return None

    def _send_one(self, place: Place, contract: TaskContract, command: Command) -> None:
        try:
            self.celery.send_task(contract.name, kwargs={"command": to_json(command)}, queue=contract.queue.value)
        except (OperationalError, redis.RedisError) as error:
            raise UnavailableError(
                f"the broker takes no message ({error}); is the stack up? try: sense status"
            ) from error
        except (EncodeError, ValueError) as error:
            self._refuse(place, error)
        log.debug("command.sent", job=place[0], stage=place[1], shard=command.shard, attempt=command.attempt)

    def _refuse(self, place: Place, error: Exception) -> None:
        """Fails the shard like any attempt; if even that cannot be written, marks its job as damaged."""
        job_id, stage, shard = place
        reason = (
            f"no command can be made of it ({summarize_error(error)}); it was written by another version, or damaged"
        )
        log.error("shard.refused", job=job_id, stage=stage, shard=shard, error=reason)
        token = uuid.uuid4().hex
        try:
            with redis_errors():
                attempt = int(
                    self.store.client.hget(self.store.key("job", job_id, "row", stage, str(shard)), "attempt")
                )
            # only the holder of a claim may fail a shard
            if self.store.claim(*place, attempt, token=token, worker="orchestrator", lease_s=self.lease_s) == "ok":
                self.store.fail(*place, token=token, error=ErrorInfo(code="bad_row", message=reason), pause_s=0)
        except DAMAGE_ERRORS:
            self.store.mark_damaged(job_id, f"shard {stage}/{shard}: {reason}")


def find_stage(plan: JobPlan | None, name: str) -> StagePlan | None:
    return next((stage for stage in plan.stages if stage.id == name), None) if plan else None


def make_command(
    request_id: str, job_id: str, stage: StagePlan, row: ShardRecord | Exception, before: ShardRecord | Exception | None
) -> Command:
    """Raises one of `DAMAGE_ERRORS` if the data of the shard is damaged."""
    for one in (row, before):
        if isinstance(one, Exception):
            raise one
    assert isinstance(row, ShardRecord) and not isinstance(before, Exception)
    fields = command_fields(request_id, job_id, stage, row, before)
    return CONTRACTS[stage.task].command.model_validate(fields)


def command_fields(
    request_id: str, job_id: str, stage: StagePlan, row: ShardRecord, upstream: ShardRecord | None
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "job_id": job_id,
        "stage": stage.id,
        "shard": row.shard,
        "attempt": row.attempt,
        "correlation_id": request_id,
        **stage.params,
    }
    match stage.source:
        case EachShard(fields=wanted):
            outputs = upstream.outputs if upstream else {}
            fields |= {field: outputs[name] for field, name in wanted.items()}
        case Slices(stage=name, output=output, field=field):
            fields[field] = {"stage": StageRef(stage=name), "output": output, **row.params}
        case _:
            fields |= row.params
    return fields
