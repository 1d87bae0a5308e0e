"""Finished, archived jobs and how they leave Redis."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.errors import NotFoundError
from shared.jobs.state import DAMAGE_ERRORS, JobStatus, raise_if_error, summarize_error
from shared.jobs.store import AT_ONCE_S, BATCH, JobStore, batches
from shared.logging import get_logger
from shared.redis import redis_errors
from shared.storage.keys import archive_key, newest_epoch
from shared.storage.store import ObjectStore

log = get_logger()


def archived_key(objects: ObjectStore, job_id: str, name: str) -> str:
    """The key of a file in the newest archive of a job. Raises `NotFoundError` if the job is not archived."""
    epoch = newest_epoch(job_id, objects.list(archive_key(job_id, "job.")))
    if epoch is None:
        raise NotFoundError(f"there is no job {job_id}; list them with: sense jobs", code="job_not_found")
    return archive_key(job_id, name, epoch)


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A terminal job whose archive is up to date. `swept` is True once retention has removed its old objects."""

    id: str
    finished_at: float
    epoch: int
    swept: bool
    rows: int


class FinishedJobs:
    """Lists and removes finished jobs. A job leaves at once for all readers; its shards are removed in slices."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.client = store.client

    def all(self) -> Iterator[FinishedJob]:
        """Yields the oldest first. A job with an incomplete archive or unsettled shards is left out."""
        with redis_errors():
            # a job that changes after this read is refused by `forget`
            stale = {*self.client.hkeys(self.store.key("stale")), *self.client.smembers(self.store.key("settling"))}
        for some in batches(reversed(self.store.job_ids()), BATCH):
            pipe = self.client.pipeline(transaction=False)
            for job_id in some:
                pipe.hmget(self.store.key("job", job_id), "status", "finished_at", "epoch", "swept")
            with redis_errors():
                answers = pipe.execute(raise_on_error=False)
            for job_id, answer in zip(some, answers, strict=True):
                if job_id not in stale and (job := self._read(job_id, answer)) is not None:
                    yield job

    def mark_swept(self, job: FinishedJob) -> None:
        self.store.steps.run("swept", job.id, job.epoch)

    def forget(self, job: FinishedJob) -> bool:
        """Takes the job out of Redis; False if it was retried or its archive is out of date."""
        if not self.store.steps.run("forget", job.id, job.epoch):
            return False
        self.store.remove_shards(job.id, AT_ONCE_S)
        return True

    def finish_leaving(self) -> None:
        """Completes removals that a killed process had started."""
        with redis_errors():
            leaving = self.client.smembers(self.store.key("leaving"))
        for job_id in sorted(leaving):
            self.store.remove_readable_shards(job_id, AT_ONCE_S)

    def _read(self, job_id: str, answer: Any) -> FinishedJob | None:
        """None for an active job and for an unreadable one, which stays for an operator to look at."""
        try:
            with redis_errors():
                status, finished_at, epoch, swept = raise_if_error(answer)
            if not status or not JobStatus(status).terminal or not finished_at:
                return None
            fresh = swept is not None and swept == epoch
            return FinishedJob(job_id, float(finished_at), int(epoch or 1), fresh, self._rows(job_id))
        except DAMAGE_ERRORS as error:
            log.warning("retention.unreadable", job=job_id, error=summarize_error(error))
            return None

    def _rows(self, job_id: str) -> int:
        with redis_errors():
            stages = self.client.lrange(self.store.key("job", job_id, "stages"), 0, -1)
            return sum(int(self.client.zcard(self.store.key("job", job_id, "shards", stage))) for stage in stages)
