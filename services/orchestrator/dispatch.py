"""Sends commands: at most twice a queue's slots at a time, round-robin over jobs, so one large job starves nobody."""

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from shared.contracts.base import Queue, as_json
from shared.contracts.refs import StageRef
from shared.contracts.registry import CONTRACTS
from shared.errors import UnavailableError
from shared.jobs.plan import Each, Plan, Slices, StagePlan
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerBoard
from shared.logging import get_logger
from shared.settings import LeaseSettings, RedisSettings
from shared.tasks.app import queue_key

log = get_logger()


class Dispatcher:
    """Turns queued rows into Celery messages."""

    def __init__(self, store: JobStore, board: WorkerBoard, celery: Celery) -> None:
        self.store = store
        self.board = board
        self.celery = celery
        self.settings = RedisSettings()
        self.lease_s = LeaseSettings().seconds

    def dispatch(self) -> int:
        """Fills every queue up to twice its slots; how many messages went out."""
        return sum(self._fill(queue) for queue in Queue)

    def resend_lost(self) -> int:
        """Rows whose message vanished go out again; messages that still wait in Celery's list are left alone."""
        return sum(self._resend(queue) for queue in Queue)

    def _fill(self, queue: Queue) -> int:
        sent, running = self.store.in_flight(queue)
        room = 2 * max(self.board.slots(queue), 1) - sent - running
        if room <= 0:
            return 0
        taken = self.store.take(queue, room)
        for job_id, stage, shard in taken:
            self._send(job_id, stage, shard)
        return len(taken)

    def _resend(self, queue: Queue) -> int:
        sent, _ = self.store.in_flight(queue)
        waiting = self.store.client.llen(queue_key(self.settings, queue))
        if not sent or waiting >= sent:
            return 0
        count = self.store.resend(queue, self.lease_s)
        if count:
            log.warning("dispatch.resent", queue=queue.value, rows=count)
        return count

    def _send(self, job_id: str, stage_id: str, shard: int) -> None:
        plan = self.store.plan(job_id)
        if plan is None:
            return
        stage = plan.stage(stage_id)
        contract = CONTRACTS[stage.task]
        command = contract.command.model_validate(command_fields(self.store, job_id, plan, stage, shard))
        try:
            self.celery.send_task(contract.name, kwargs={"command": as_json(command)}, queue=contract.queue.value)
        except OperationalError as error:
            raise UnavailableError(
                f"the broker takes no message ({error}); is the stack up? try: sense status"
            ) from error
        log.debug("command.sent", job=job_id, stage=stage_id, shard=shard, attempt=command.attempt)


def command_fields(store: JobStore, job_id: str, plan: Plan, stage: StagePlan, shard: int) -> dict[str, Any]:
    """Everything a command says: who it is, the stage's parameters, the shard's own, its upstream outputs."""
    row = store.row(job_id, stage.id, shard)
    job = store.job(job_id)
    fields: dict[str, Any] = {
        "job_id": job_id,
        "stage": stage.id,
        "shard": shard,
        "attempt": row.attempt,
        "correlation_id": job.request_id or job_id,
        **stage.params,
    }
    match stage.source:
        case Each(stage=upstream, fields=wanted):
            outputs = store.row(job_id, upstream, shard).outputs
            fields |= {field: outputs[name] for field, name in wanted.items()}
        case Slices(stage=upstream, output=output, field=field):
            source = {"stage": StageRef(stage=upstream), "output": output, **row.params}
            fields[field] = source
        case _:
            fields |= row.params
    return fields
