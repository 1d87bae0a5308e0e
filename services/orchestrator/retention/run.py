"""One look at everything that is over: what has stayed long enough goes, or, in a dry run, is only named."""

import time
from collections.abc import Iterator

from services.orchestrator.retention.objects import Going, orphans, stale_checkpoints
from services.orchestrator.retention.settings import RetentionSettings
from services.orchestrator.retention.stored import Stored
from services.orchestrator.retention.streams import trim_facts
from shared.errors import NotFoundError, UnavailableError
from shared.jobs.ended import Ended, EndedJobs
from shared.jobs.rows import DAMAGE, summarize
from shared.jobs.state import ShardRow
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.storage.keys import DATASETS_PREFIX, MODELS_PREFIX, archive_key
from shared.storage.records import CorruptObjectError, read_records
from shared.storage.store import ObjectStore

DAY_S = 86_400.0
log = get_logger()


class Retention:
    """Two at once do no harm: every removal is of something that is gone for good, whoever removes it.

    Raises `UnavailableError`; what went until then is gone, and the next run goes on.
    """

    def __init__(self, store: JobStore, objects: ObjectStore, settings: RetentionSettings) -> None:
        self.store = store
        self.objects = objects
        self.settings = settings
        self.ended = EndedJobs(store)

    def run(self, *, dry_run: bool = False, now: float | None = None) -> Iterator[Going]:
        """Everything that goes, one after the other, removed as it is handed out."""
        for found in self.turns(dry_run=dry_run, now=now):
            yield from found

    def turns(self, *, dry_run: bool = False, now: float | None = None) -> Iterator[list[Going]]:
        """The same job by job, so that who has other work too can stop between two. A damaged archive is passed by."""
        now = time.time() if now is None else now
        if not dry_run:
            self.ended.finish_leaving()
        for job in self.ended.all():
            found: list[Going] = []
            try:
                if self.objects.exists(archive_key(job.id, "job.json", job.epoch)):
                    found.extend(self._job(job, now, dry_run))
            except (CorruptObjectError, NotFoundError) as error:
                # what Redis still has is archived again, and goes when that can be read
                log.warning("retention.damaged_archive", job=job.id, error=error.message)
                if not dry_run:
                    self.ended.store.mark_stale(job.id)
            except DAMAGE as error:
                log.warning("retention.unreadable", job=job.id, error=summarize(error))
            yield found
        yield from self._stored(now, dry_run)
        if self.settings.facts_days >= 0:
            yield list(trim_facts(self.store, now - self.settings.facts_days * DAY_S, dry_run=dry_run))

    def _stored(self, now: float, dry_run: bool) -> Iterator[list[Going]]:
        """What is no job's, a part at a time."""
        stored = Stored(self.store, self.objects, self.settings, now)
        kinds = {
            "asked": stored.asked(),
            "neighbours": stored.neighbours(),
            "datasets": stored.unfinished(DATASETS_PREFIX, 3),
            "models": stored.unfinished(MODELS_PREFIX, 2),
            "answers": stored.answers(),
            "uploads": stored.uploads(),
        }
        for kind, found in kinds.items():
            try:
                for going, keys in found:
                    for key in keys if not dry_run else ():
                        self.objects.delete(key)
                    yield [going]
            except UnavailableError:
                raise
            except Exception as error:  # one strange record stops one kind
                log.error("retention.kind_skipped", kind=kind, error=str(error))

    def _job(self, job: Ended, now: float, dry_run: bool) -> Iterator[Going]:
        age = (now - job.finished_at) / DAY_S
        settings = self.settings
        due = [0 <= days <= age for days in (settings.orphans_days, settings.checkpoints_days)]
        wanted = [days >= 0 for days in (settings.orphans_days, settings.checkpoints_days)]
        if any(due) and not job.swept:
            yield from self._objects(job, due[0], due[1], dry_run)
            if due == wanted and not dry_run:
                self.ended.mark_swept(job)
        if 0 <= settings.rows_days <= age and due == wanted:
            yield Going("rows", f"job {job.id}", f"ended {age:.1f} days ago; its archive is read from now on", job.rows)
            if not dry_run and self.ended.forget(job):
                log.info("retention.job_left", job=job.id, rows=job.rows)

    def _rows(self, job: Ended) -> Iterator[ShardRow]:
        return read_records(self.objects, archive_key(job.id, "rows.jsonl", job.epoch), ShardRow)

    def _objects(self, job: Ended, orphaned: bool, thin: bool, dry_run: bool) -> Iterator[Going]:
        keys = list(self.objects.list(f"jobs/{job.id}/"))
        found = [*(orphans(keys, self._rows(job)) if orphaned else ())]
        found += stale_checkpoints(job.id, keys, self._rows(job)) if thin else ()
        for going in found:
            if not dry_run:
                self.objects.delete(going.what)
            yield going
