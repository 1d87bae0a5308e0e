"""Streams of events: one of all jobs for the orchestrator, and one of each job for those who watch it."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.logging import get_logger
from shared.redis import RedisClient, redis_errors

CONSUMER_GROUP = "orchestrator"
log = get_logger()


class Event(BaseModel):
    """An entry of a stream. A reader resumes by `id`, the stream id of Redis."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    type: str = "fact"
    name: str
    job_id: str = ""
    stage: str = ""
    shard: str = ""
    at: float
    data: dict[str, Any]


UNREADABLE = "unreadable"


def read_event(stream_id: str, fields: dict[str, str]) -> Event:
    """Parses an entry. An invalid one becomes an `unreadable` event that holds only its job."""
    try:
        shard = fields.get("shard", "")
        # `int` would also accept signs, spaces, underscores and other digits
        if shard and not (shard.isascii() and shard.isdigit()):
            raise ValueError(f"a shard is a number, not {shard!r}")
        return Event.model_validate({**fields, "id": stream_id, "data": json.loads(fields.get("data") or "{}")})
    except (ValueError, TypeError, RecursionError) as error:
        log.warning("event.unreadable", id=stream_id, error=str(error)[:300])
        return Event(id=stream_id, name=UNREADABLE, job_id=fields.get("job_id", ""), at=0.0, data={})


class EventReader:
    """Reads the events of all jobs for the orchestrator, which acknowledges them after it has acted."""

    def __init__(self, client: RedisClient, prefix: str, consumer: str) -> None:
        self.client = client
        self.stream = f"{prefix}events"
        self.consumer = consumer

    def open(self) -> None:
        """Creates the stream and the group if they are missing; the sweep covers events that were lost with them.

        A key that is not a stream is renamed, because no step of any job works without the stream.
        """
        with redis_errors():
            if self.client.type(self.stream) not in ("stream", "none"):
                self.client.rename(self.stream, f"{self.stream}:aside")
            groups = self.client.xinfo_groups(self.stream) if self.client.exists(self.stream) else []
            if not any(group["name"] == CONSUMER_GROUP for group in groups):
                self.client.xgroup_create(self.stream, CONSUMER_GROUP, id="0", mkstream=True)

    def read(self, *, block_ms: int | None, most: int = 200) -> list[Event]:
        """Waits up to `block_ms` for new events, or not at all if it is None."""
        with redis_errors():
            answer = self.client.xreadgroup(
                CONSUMER_GROUP, self.consumer, {self.stream: ">"}, count=most, block=block_ms
            )
        return [read_event(entry_id, fields) for entry_id, fields in (answer[0][1] if answer else [])]

    def acknowledge(self, events: list[Event]) -> None:
        if events:
            with redis_errors():
                self.client.xack(self.stream, CONSUMER_GROUP, *[event.id for event in events])


class JobEvents:
    """The capped stream of one job: its events and its progress."""

    def __init__(self, client: RedisClient, prefix: str, job_id: str) -> None:
        self.client = client
        self.job_id = job_id
        self.stream = f"{prefix}job:{job_id}:events"

    def progress(self, stage: str, shard: int, data: dict[str, Any]) -> None:
        """Adds progress for people who watch. No decision depends on it."""
        with redis_errors():
            at = self.client.time()
            fields = {
                "type": "progress",
                "name": "shard.progress",
                "stage": stage,
                "shard": str(shard),
                "at": f"{at[0]}.{at[1]:06d}",
                "data": json.dumps(data, separators=(",", ":")),
            }
            self.client.xadd(self.stream, fields, maxlen=20_000, approximate=True)  # approximate trimming is cheaper

    def after(self, last_id: str = "0", most: int = 500) -> list[Event]:
        with redis_errors():
            entries = self.client.xrange(self.stream, min=f"({last_id}", count=most)
        return [self._own(entry_id, fields) for entry_id, fields in entries]

    def all(self) -> Iterator[Event]:
        last = "0"
        while batch := self.after(last):
            yield from batch
            last = batch[-1].id

    def _own(self, entry_id: str, fields: dict[str, str]) -> Event:
        return read_event(entry_id, {**fields, "job_id": self.job_id})
