"""Sends commands: at most twice a queue's slots at a time, round-robin over jobs, so one large job starves nobody."""

from collections.abc import Iterator, Mapping
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from shared.contracts.base import Queue, as_json
from shared.contracts.refs import StageRef
from shared.contracts.registry import CONTRACTS
from shared.errors import UnavailableError
from shared.jobs.plan import Each, Slices, StagePlan
from shared.jobs.state import ShardRow
from shared.jobs.store import JobStore, Load
from shared.jobs.workers import WorkerBoard
from shared.logging import get_logger
from shared.settings import LeaseSettings, RedisSettings
from shared.tasks.app import queue_key

log = get_logger()
Place = tuple[str, str, int]


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
        loads = self.store.loads()
        if not any(load.jobs for load in loads.values()):
            return 0
        slots = self.board.living()
        taken = [row for queue, load in loads.items() for row in self._take(queue, load, slots[queue.value])]
        return self._send(taken)

    def resend_lost(self) -> int:
        """Rows whose message vanished go out again; messages that still wait in Celery's list are left alone."""
        return sum(self._resend(queue) for queue in Queue)

    def _take(self, queue: Queue, load: Load, slots: int) -> list[Place]:
        room = 2 * max(slots, 1) - load.sent - load.running
        return self.store.take(queue, room) if load.jobs and room > 0 else []

    def _resend(self, queue: Queue) -> int:
        sent, _ = self.store.in_flight(queue)
        waiting = self.store.client.llen(queue_key(self.settings, queue))
        if not sent or waiting >= sent:
            return 0
        count = self.store.resend(queue, self.lease_s, vanished=waiting == 0)
        if count:
            log.warning("dispatch.resent", queue=queue.value, rows=count)
        return count

    def _send(self, taken: list[Place]) -> int:
        """One exchange reads all rows that a round needs, another their jobs; then the messages."""
        if not taken:
            return 0
        plans = {job_id: self.store.plan(job_id) for job_id, _, _ in taken}
        stages = {(job, name): plan.stage(name) for job, name, _ in taken if (plan := plans[job]) is not None}
        upstream = {place: (place[0], source.stage, place[2]) for place, source in followers(taken, stages)}
        places = [*taken, *upstream.values()]
        rows = dict(zip(places, self.store.rows_at(places), strict=True))
        requests = self.store.request_ids(plans)
        for place in taken:
            stage, row = stages.get(place[:2]), rows[place]
            before = rows[upstream[place]] if place in upstream else None
            if stage is not None and row is not None:
                self._send_one(place[0], stage, command_fields(requests[place[0]], place[0], stage, row, before))
        return len(taken)

    def _send_one(self, job_id: str, stage: StagePlan, fields: dict[str, Any]) -> None:
        contract = CONTRACTS[stage.task]
        command = contract.command.model_validate(fields)
        try:
            self.celery.send_task(contract.name, kwargs={"command": as_json(command)}, queue=contract.queue.value)
        except (OperationalError, redis.RedisError) as error:
            raise UnavailableError(
                f"the broker takes no message ({error}); is the stack up? try: sense status"
            ) from error
        log.debug("command.sent", job=job_id, stage=stage.id, shard=command.shard, attempt=command.attempt)


def followers(taken: list[Place], stages: Mapping[tuple[str, str], StagePlan]) -> Iterator[tuple[Place, Each]]:
    """Of these rows, those that go on with what one row upstream left."""
    for place in taken:
        stage = stages.get(place[:2])
        if stage is not None and isinstance(stage.source, Each):
            yield place, stage.source


def command_fields(
    request_id: str, job_id: str, stage: StagePlan, row: ShardRow, upstream: ShardRow | None
) -> dict[str, Any]:
    """Everything a command says: who it is, the stage's parameters, the shard's own, its upstream outputs."""
    fields: dict[str, Any] = {
        "job_id": job_id,
        "stage": stage.id,
        "shard": row.shard,
        "attempt": row.attempt,
        "correlation_id": request_id,
        **stage.params,
    }
    match stage.source:
        case Each(fields=wanted):
            outputs = upstream.outputs if upstream else {}
            fields |= {field: outputs[name] for field, name in wanted.items()}
        case Slices(stage=name, output=output, field=field):
            fields[field] = {"stage": StageRef(stage=name), "output": output, **row.params}
        case _:
            fields |= row.params
    return fields
