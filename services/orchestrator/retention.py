"""Remove what was kept long enough: `python -m services.orchestrator.retention [--dry-run | --usage]`."""

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from services.orchestrator.settings import RetentionSettings
from shared.catalog.databases import upload_keys
from shared.errors import NotFoundError, SenseError, UnavailableError
from shared.jobs.events import CONSUMER_GROUP
from shared.jobs.finished import FinishedJob, FinishedJobs
from shared.jobs.state import DAMAGE_ERRORS, JobRecord, ShardRecord, ShardState, summarize_error
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.redis import connect_redis, redis_errors
from shared.settings import RedisSettings
from shared.storage.keys import (
    ANSWERS_PREFIX,
    DATASETS_PREFIX,
    DDL_DATABASES_PREFIX,
    MODELS_PREFIX,
    TEST_SUITES_PREFIX,
    UPLOADS_PREFIX,
    archive_key,
    card_key,
    checkpoints_prefix,
    database_key,
)
from shared.storage.open import StoreSettings, open_store
from shared.storage.records import CorruptObjectError, read_records
from shared.storage.store import ObjectInfo, ObjectStore

DAY_S = 86_400.0
IDLE_MS = 3_600_000  # a reader is one orchestrator process; after so long without a read it is gone
MANIFEST = "/manifest.json"
ARCHIVED_JOB = re.compile(r"jobs/[^/]+/job(\.\d+)?\.json")
SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# the forms of `shared.storage.keys.shard_key` and `checkpoint_key`; no other object of a job is ever removed
SHARD = re.compile(r"jobs/[^/]+/(?P<stage>[^/]+)/(?P<shard>\d+)\.(?P<attempt>\d+)\.[^/]+")
CHECKPOINT = re.compile(r"jobs/[^/]+/(?P<stage>[^/]+)/checkpoint-(?P<step>\d+)/.+")
log = get_logger()


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that is removed, and why."""

    kind: str
    what: str
    why: str
    count: int = 1


class Retention:
    """Several runs at once do no harm: it does not matter which of them removes a thing.

    Raises `UnavailableError`; the next run continues where this one stopped.
    """

    def __init__(self, store: JobStore, objects: ObjectStore, settings: RetentionSettings) -> None:
        self.store = store
        self.objects = objects
        self.settings = settings
        self.ended = FinishedJobs(store)

    def run(self, *, dry_run: bool = False, now: float | None = None) -> Iterator[Removal]:
        """Removes each thing when it yields it."""
        for found in self.turns(dry_run=dry_run, now=now):
            yield from found

    def turns(self, *, dry_run: bool = False, now: float | None = None) -> Iterator[list[Removal]]:
        """As `run`, but job by job, so that the caller can pause in between. Skips damaged archives."""
        now = time.time() if now is None else now
        if not dry_run:
            self.ended.finish_leaving()
        for job in self.ended.all():
            found: list[Removal] = []
            try:
                if self.objects.exists(archive_key(job.id, "job.json", job.epoch)):
                    found.extend(self._job(job, now, dry_run))
            except (CorruptObjectError, NotFoundError) as error:
                # what Redis still has is archived again; the job leaves when that archive can be read
                log.warning("retention.damaged_archive", job=job.id, error=error.message)
                if not dry_run:
                    self.ended.store.mark_stale(job.id)
            except DAMAGE_ERRORS as error:
                log.warning("retention.unreadable", job=job.id, error=summarize_error(error))
            yield found
        yield from self._shared(now, dry_run)
        if self.settings.events_days >= 0:
            yield list(trim_events(self.store, now - self.settings.events_days * DAY_S, dry_run=dry_run))

    def _shared(self, now: float, dry_run: bool) -> Iterator[list[Removal]]:
        stored = SharedObjects(self.store, self.objects, self.settings, now)
        kinds = {
            "asked": stored.asked(),
            "suite_databases": stored.suite_databases(),
            "datasets": stored.unfinished(DATASETS_PREFIX, 3),
            "models": stored.unfinished(MODELS_PREFIX, 2),
            "answers": stored.answers(),
            "uploads": stored.uploads(),
        }
        for kind, found in kinds.items():
            try:
                for removal, keys in found:
                    for key in keys if not dry_run else ():
                        self.objects.delete(key)
                    yield [removal]
            except UnavailableError:
                raise
            except Exception as error:  # an unexpected record stops only its kind
                log.error("retention.kind_skipped", kind=kind, error=str(error))

    def _job(self, job: FinishedJob, now: float, dry_run: bool) -> Iterator[Removal]:
        age = (now - job.finished_at) / DAY_S
        settings = self.settings
        due = [0 <= days <= age for days in (settings.orphans_days, settings.checkpoints_days)]
        wanted = [days >= 0 for days in (settings.orphans_days, settings.checkpoints_days)]
        if any(due) and not job.swept:
            yield from self._objects(job, due[0], due[1], dry_run)
            # swept only when nothing more will come due; otherwise a later run looks again
            if due == wanted and not dry_run:
                self.ended.mark_swept(job)
        if 0 <= settings.rows_days <= age and due == wanted:
            yield Removal(
                "rows", f"job {job.id}", f"ended {age:.1f} days ago; its archive is read from now on", job.rows
            )
            if not dry_run and self.ended.forget(job):
                log.info("retention.job_left", job=job.id, rows=job.rows)

    def _rows(self, job: FinishedJob) -> Iterator[ShardRecord]:
        return read_records(self.objects, archive_key(job.id, "rows.jsonl", job.epoch), ShardRecord)

    def _objects(self, job: FinishedJob, orphaned: bool, thin: bool, dry_run: bool) -> Iterator[Removal]:
        keys = list(self.objects.list(f"jobs/{job.id}/"))
        found = [*(orphaned_outputs(keys, self._rows(job)) if orphaned else ())]
        found += stale_checkpoints(job.id, keys, self._rows(job)) if thin else ()
        for removal in found:
            if not dry_run:
                self.objects.delete(removal.what)
            yield removal


def orphaned_outputs(keys: Iterable[str], rows: Iterable[ShardRecord]) -> Iterator[Removal]:
    """Outputs of attempts that did not finish, among the keys of one job.

    Two kinds stay: outputs of unknown shards, and outputs of attempts later than the archived one, which may belong to
    a retry that has started since.
    """
    found: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for key in keys:
        if match := SHARD.fullmatch(key):
            found.setdefault((match["stage"], int(match["shard"])), []).append((int(match["attempt"]), key))
    removals: list[Removal] = []
    kept: set[str] = set()  # outputs of a shard that an attempt of another shard wrote
    for row in rows:  # a job may have a million, so none is kept in memory
        own, named = found.get((row.stage, row.shard), []), {ref.key for ref in row.outputs.values()}
        kept |= named.difference(key for _, key in own)
        done = row.state is ShardState.DONE
        recorded = f"attempt {row.attempt}" if done else "none"
        for attempt, key in own:
            if key not in named and (attempt < row.attempt or (attempt == row.attempt and not done)):
                why = f"written by attempt {attempt}; the one that finished: {recorded}"
                removals.append(Removal("orphan", key, why))
    yield from (one for one in removals if one.what not in kept)


def stale_checkpoints(job_id: str, keys: Iterable[str], rows: Iterable[ShardRecord]) -> Iterator[Removal]:
    finished = {row.stage for row in rows if row.state is ShardState.DONE}
    found = [(match["stage"], int(match["step"]), key) for key in keys if (match := CHECKPOINT.fullmatch(key))]
    for stage, group in groupby(sorted(found), key=lambda one: one[0]):
        members = list(group)
        last = max(step for _, step, _ in members)
        if stage not in finished:
            continue
        for _, step, key in members:
            if step < last:
                prefix = checkpoints_prefix(job_id, stage)
                yield Removal("checkpoint", key, f"the stage is finished, and {prefix}{last} is its last")


class SharedObjects:
    """Objects that belong to no job.

    Each method yields the keys of a thing in the order of deletion: at any time, readers find all of it or nothing.
    """

    def __init__(self, store: JobStore, objects: ObjectStore, settings: RetentionSettings, now: float) -> None:
        self.store, self.objects, self.settings, self.now = store, objects, settings, now

    def old(self, days: float, modified: float) -> bool:
        return 0 <= days <= (self.now - modified) / DAY_S

    def asked(self) -> Iterator[tuple[Removal, list[str]]]:
        found: list[tuple[float, int, str, list[str]]] = []
        for name, parts in grouped(self.objects.entries(DDL_DATABASES_PREFIX), lambda key: key.split("/")[1][:64]):
            # The card goes first, because a file without a card counts as a partial write. The card is written again
            # while the database is used, so its age is the time since the last use.
            keys = sorted((part.key for part in parts), key=lambda key: not key.endswith(".json"))
            found.append((max(part.modified for part in parts), sum(part.size for part in parts), name, keys))
        total, bound = sum(size for _, size, _, _ in found), self.settings.ddl_databases_bytes
        for used, size, name, keys in sorted(found):
            over = bool(bound) and total > bound
            if self.old(self.settings.ddl_databases_days, used) or over:
                total -= size
                why = f"all of its kind are above {bound} bytes" if over else "not asked for"
                yield Removal("asked", f"database {name}", f"{why}; last used {self.days(used)} days ago", size), keys

    def suite_databases(self) -> Iterator[tuple[Removal, list[str]]]:
        """Test-suite databases may go at any time: they are built again when needed, byte for byte."""
        if self.settings.test_suites_days < 0:
            return
        for one in self.objects.entries(TEST_SUITES_PREFIX):
            if self.old(self.settings.test_suites_days, one.modified):
                why = f"made {self.days(one.modified)} days ago, and made again on need"
                yield Removal("test-suite database", one.key, why, one.size), [one.key]

    def unfinished(self, prefix: str, depth: int) -> Iterator[tuple[Removal, list[str]]]:
        """Parts of datasets and models without a manifest, which is written last: readers do not see them."""
        if self.settings.unfinished_days < 0:
            return
        for name, parts in grouped(self.objects.entries(prefix), lambda key: "/".join(key.split("/")[:depth])):
            if any(part.key == name + MANIFEST for part in parts):
                continue
            newest = max(part.modified for part in parts)
            # checked again: the manifest may have been written since the listing
            if self.old(self.settings.unfinished_days, newest) and not self.objects.exists(name + MANIFEST):
                why = f"no manifest came in {self.days(newest)} days"
                yield Removal("unfinished", name, why, sum(part.size for part in parts)), [part.key for part in parts]

    def answers(self) -> Iterator[tuple[Removal, list[str]]]:
        """Only answers older than every active job go, so that no job pays twice for a call."""
        if self.settings.answers_days < 0:
            return
        begun = min((job.created_at for job in self.active_jobs()), default=self.now)
        for one in self.objects.entries(ANSWERS_PREFIX):
            if self.old(self.settings.answers_days, one.modified) and one.modified < begun:
                yield Removal("answer", one.key, f"recorded {self.days(one.modified)} days ago", one.size), [one.key]

    def active_jobs(self) -> Iterator[JobRecord]:
        for job_id in self.store.active():
            try:
                yield self.store.job(job_id)
            except NotFoundError:
                continue

    def uploads(self) -> Iterator[tuple[Removal, list[str]]]:
        """Uploaded databases that no dataset and no job names, in Redis or in an archive."""
        if self.settings.uploads_days < 0:
            return
        records = {one.key: one for one in self.objects.entries(UPLOADS_PREFIX)}
        old = {
            database_id: records[key]
            for database_id, key in upload_keys(self.objects).items()
            if key in records and self.old(self.settings.uploads_days, records[key].modified)
        }
        if not old:
            return
        named = self.named()
        for database_id, record in old.items():
            if database_id not in named:
                why = f"brought {self.days(record.modified)} days ago, and nothing names it"
                keys = [record.key, card_key(database_id), database_key(database_id)]
                yield Removal("upload", f"database {database_id}", why), keys

    def named(self) -> set[str]:
        """Finds database ids in datasets and jobs. Reads them as text, so records of other versions count too."""
        found: set[str] = set()
        for key in self.objects.list(DATASETS_PREFIX):
            if key.endswith(MANIFEST):
                found.update(SHA256.findall(self.objects.get(key).decode(errors="replace")))
        for key in self.objects.list("jobs/"):
            if ARCHIVED_JOB.fullmatch(key):
                found.update(SHA256.findall(self.objects.get(key).decode(errors="replace")))
        for job_id in self.store.job_ids():
            spec = self.store.client.hget(self.store.key("job", job_id), "spec")
            found.update(SHA256.findall(spec or ""))
        return found

    def days(self, modified: float) -> str:
        return f"{(self.now - modified) / DAY_S:.1f}"


def grouped(entries: Iterable[ObjectInfo], name: Callable[[str], str]) -> Iterator[tuple[str, list[ObjectInfo]]]:
    ordered = sorted(((name(one.key), one) for one in entries), key=lambda part: (part[0], part[1].key))
    for found, parts in groupby(ordered, key=lambda part: part[0]):
        yield found, [one for _, one in parts]


def trim_events(store: JobStore, before: float, *, dry_run: bool) -> Iterator[Removal]:
    """Drops events that were read and are older than `before` (seconds since 1970), and readers that are gone."""
    stream, client = store.key("events"), store.client
    with redis_errors():
        groups = client.xinfo_groups(stream) if client.exists(stream) else []
        read = next((group["last-delivered-id"] for group in groups if group["name"] == CONSUMER_GROUP), "0-0")
        # what the orchestrator has not read yet stays, however old it is
        limit = min(f"{int(before * 1000)}-0", read, key=stream_position)
        old = client.xrange(stream, max=f"({limit}", count=1) if stream_position(limit) > (0, 0) else []
        gone = client.xlen(stream) if dry_run else 0
        if old and not dry_run:
            gone = client.xtrim(stream, minid=limit, approximate=False)
        if old:
            yield Removal("events", stream, f"read, and older than {limit}", gone)
        known = any(group["name"] == CONSUMER_GROUP for group in groups)
        for reader in client.xinfo_consumers(stream, CONSUMER_GROUP) if known else []:
            if reader["idle"] > IDLE_MS:
                yield Removal("reader", reader["name"], "silent for an hour", reader["pending"])
                if not dry_run:
                    client.xgroup_delconsumer(stream, CONSUMER_GROUP, reader["name"])


def stream_position(stream_id: str) -> tuple[int, int]:
    time_ms, _, number = stream_id.partition("-")
    return int(time_ms), int(number or 0)


def usage(objects: ObjectStore) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for one in objects.entries(""):
        kind = one.key.split("/")[0]
        number, size = found.get(kind, (0, 0))
        found[kind] = (number + 1, size + one.size)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.orchestrator.retention", description="Remove what was kept long enough."
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would go, and why")
    parser.add_argument("--usage", action="store_true", help="only say what the store holds, by kind")
    arguments = parser.parse_args()
    redis = RedisSettings()
    total: Counter[str] = Counter()
    try:
        if arguments.usage:
            for kind, (number, size) in sorted(usage(open_store(StoreSettings())).items()):
                print(f"{kind:<12} {number:>10} objects {size / 1e6:>14.1f} MB")
            return 0
        store = JobStore(connect_redis(redis), redis.prefix)
        retention = Retention(store, open_store(StoreSettings()), RetentionSettings())
        for removal in retention.run(dry_run=arguments.dry_run):
            print(f"{removal.kind:<10} {removal.what} ({removal.why}; {removal.count})")
            total[removal.kind] += removal.count
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 1
    verb = "would go" if arguments.dry_run else "went"
    print(f"{verb}: {', '.join(f'{count} {kind}' for kind, count in sorted(total.items())) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
