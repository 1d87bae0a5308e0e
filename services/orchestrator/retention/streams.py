"""The common stream of facts: its readers have acted on them, and the sweep covers what was lost."""

from collections.abc import Iterator

from services.orchestrator.retention.objects import Going
from shared.events.stream import GROUP
from shared.jobs.connect import redis_errors
from shared.jobs.store import JobStore

IDLE_MS = 3_600_000


def trim_facts(store: JobStore, before: float, *, dry_run: bool) -> Iterator[Going]:
    """Drops facts older than `before` (seconds) that were read, and readers that have been silent for an hour."""
    stream, client = store.key("facts"), store.client
    with redis_errors():
        groups = client.xinfo_groups(stream) if client.exists(stream) else []
        read = next((group["last-delivered-id"] for group in groups if group["name"] == GROUP), "0-0")
        limit = min(f"{int(before * 1000)}-0", read, key=place)
        old = client.xrange(stream, max=f"({limit}", count=1) if place(limit) > (0, 0) else []
        gone = client.xlen(stream) if dry_run else 0
        if old and not dry_run:
            gone = client.xtrim(stream, minid=limit, approximate=False)
        if old:
            yield Going("facts", stream, f"read, and older than {limit}", gone)
        known = any(group["name"] == GROUP for group in groups)
        for reader in client.xinfo_consumers(stream, GROUP) if known else []:
            if reader["idle"] > IDLE_MS:
                yield Going("reader", reader["name"], "silent for an hour", reader["pending"])
                if not dry_run:
                    client.xgroup_delconsumer(stream, GROUP, reader["name"])


def place(stream_id: str) -> tuple[int, int]:
    """An id's order."""
    time_ms, _, number = stream_id.partition("-")
    return int(time_ms), int(number or 0)
