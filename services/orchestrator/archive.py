"""Archives plan, shards and events of finished jobs in the object store: losing Redis loses no finished work."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from services.orchestrator.admission import Backoff
from services.orchestrator.retention import Removal, Retention
from services.orchestrator.settings import RetentionSettings
from shared.errors import NotFoundError, UnavailableError
from shared.jobs.events import Event, JobEvents
from shared.jobs.plan import JobPlan
from shared.jobs.state import DAMAGE_ERRORS, ShardRecord, summarize_error
from shared.jobs.steps import NotLeaderError
from shared.jobs.store import BATCH, JobStore, batches
from shared.logging import get_logger
from shared.redis import redis_errors
from shared.storage.keys import archive_key
from shared.storage.records import dump_records
from shared.storage.store import ObjectStore

log = get_logger()


class Archiver:
    """Archives finished jobs and runs retention: the slow work, for which no job waits."""

    def __init__(self, store: JobStore, objects: ObjectStore) -> None:
        self.store = store
        self.objects = objects
        self.setbacks = Backoff()
        self.settings = RetentionSettings()
        self.next_retention = time.monotonic() + self.settings.every_s
        self.turns: Iterator[list[Removal]] | None = None
        self.gone: Counter[str] = Counter()

    def work(self, slice_s: float) -> None:
        self.archive_stale(slice_s)
        self.retain(slice_s)

    def archive_stale(self, slice_s: float) -> None:
        """Takes `slice_s` at most, but handles one job at least. A job that cannot be archived now is put off."""
        ends = time.monotonic() + slice_s
        for job_id, seen in self.store.stale().items():
            if not self.setbacks.is_due(job_id):
                continue
            try:
                if self.store.shown_job(job_id).status.terminal:
                    archive_job(self.store, self.objects, job_id, readable_plan(self.store, job_id))
                self.store.archived(job_id, seen)
                self.store.forget_plan(job_id)
                self.setbacks.clear(job_id)
            except NotLeaderError:
                raise
            except NotFoundError:
                self.store.archived(job_id, seen)  # it has left Redis
            except Exception as error:
                # if Redis itself is away, this raises, and the job is not blamed
                if isinstance(error, UnavailableError):
                    self.store.ping()
                self.setbacks.add(job_id)
                log.warning("job.not_archived", job=job_id, error=summarize_error(error))
            if time.monotonic() >= ends:
                return

    def retain(self, slice_s: float) -> None:
        """Continues retention for `slice_s`. A run starts every `every_s` and ends when it has looked at all jobs."""
        if self.turns is None:
            if not self.settings.every_s or time.monotonic() < self.next_retention:
                return
            self.turns, self.gone = Retention(self.store, self.objects, self.settings).turns(), Counter()
        ends = time.monotonic() + slice_s
        try:
            for found in self.turns:
                self.gone.update(removal.kind for removal in found)
                if time.monotonic() >= ends:
                    return
            log.info("retention.done", **self.gone)
        # a broken run is dropped; the next one starts from the beginning
        except BaseException:
            self._end_retention()
            raise
        self._end_retention()

    def _end_retention(self) -> None:
        self.turns = None
        self.next_retention = time.monotonic() + self.settings.every_s


def archive_job(store: JobStore, objects: ObjectStore, job_id: str, plan: JobPlan | None) -> None:
    """Writes shards and events, and the record last: a job without `job.json` is not archived.

    Each ending of a job has its own keys, so a writer that was paused over a retry overwrites nothing. Data that cannot
    be read is left out: a damaged job is archived as far as possible and leaves Redis like any other.
    """
    job = store.shown_job(job_id)
    stages = [stage.id for stage in plan.stages] if plan else stored_stages(store, job_id)
    rows: Iterator[ShardRecord] = (row for stage in stages for row in store.readable_shards(job_id, stage))
    put_records(objects, archive_key(job_id, "rows.jsonl", job.epoch), rows)
    put_records(objects, archive_key(job_id, "events.jsonl", job.epoch), job_events(store, job_id))
    states = {}
    with suppress(*DAMAGE_ERRORS):
        states = store.stage_states(job_id, plan, members=False) if plan else {}
    record = {
        "job": job.model_dump(mode="json"),
        "plan": plan.model_dump(mode="json") if plan else None,
        "stages": {
            name: state.model_dump(mode="json", exclude={"existing", "finished"}) for name, state in states.items()
        },
    }
    if store.shown_job(job_id).epoch == job.epoch:  # after a retry in between, the next ending is archived
        objects.put(archive_key(job_id, "job.json", job.epoch), json.dumps(record, ensure_ascii=False).encode())


def readable_plan(store: JobStore, job_id: str) -> JobPlan | None:
    """Returns None if there is no plan or this version cannot read it."""
    try:
        return store.plan(job_id)
    except DAMAGE_ERRORS:
        return None


def stored_stages(store: JobStore, job_id: str) -> list[str]:
    try:
        with redis_errors():
            return list(store.client.lrange(store.key("job", job_id, "stages"), 0, -1))
    except DAMAGE_ERRORS:
        return []


def job_events(store: JobStore, job_id: str) -> Iterator[Event]:
    with suppress(*DAMAGE_ERRORS):
        yield from (event for event in JobEvents(store.client, store.prefix, job_id).all() if event.type == "fact")


def put_records(objects: ObjectStore, key: str, rows: Iterable[BaseModel]) -> None:
    """Writes a local file first: a job may have more records than fit in memory."""
    with tempfile.TemporaryDirectory(prefix="sense-archive-") as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("wb") as file:
            file.writelines(dump_records(some) for some in batches(rows, BATCH))
        objects.put_file(key, path)
