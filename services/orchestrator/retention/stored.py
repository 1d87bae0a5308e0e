"""What may go from the store that is no job's: by its age or last use, and only what can be missed or made again."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from services.orchestrator.retention.objects import Going
from services.orchestrator.retention.settings import RetentionSettings
from shared.catalog.databases import upload_keys
from shared.errors import NotFoundError
from shared.jobs.state import JobRecord
from shared.jobs.store import JobStore
from shared.storage.keys import (
    ANSWERS_PREFIX,
    DATASETS_PREFIX,
    DDL_DATABASES_PREFIX,
    TEST_SUITES_PREFIX,
    UPLOADS_PREFIX,
    card_key,
    database_key,
)
from shared.storage.store import ObjectInfo, ObjectStore

DAY_S = 86_400.0
MANIFEST = "/manifest.json"
ARCHIVED_JOB = re.compile(r"jobs/[^/]+/job(\.\d+)?\.json")
SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Stored:
    """One look at what lies in the store for nobody in particular. Keys of one thing go in an order in which a reader
    finds it whole or not at all.
    """

    def __init__(self, store: JobStore, objects: ObjectStore, settings: RetentionSettings, now: float) -> None:
        self.store, self.objects, self.settings, self.now = store, objects, settings, now

    def old(self, days: float, modified: float) -> bool:
        """Whether it has stayed long enough; never for -1."""
        return 0 <= days <= (self.now - modified) / DAY_S

    def asked(self) -> Iterator[tuple[Going, list[str]]]:
        """Databases built for a question, by their last use, then by their sum."""
        found: list[tuple[float, int, str, list[str]]] = []
        for name, parts in grouped(self.objects.entries(DDL_DATABASES_PREFIX), lambda key: key.split("/")[1][:64]):
            # the card first; its age is the time since the last use, and a file without one is half of a put
            keys = sorted((part.key for part in parts), key=lambda key: not key.endswith(".json"))
            found.append((max(part.modified for part in parts), sum(part.size for part in parts), name, keys))
        total, bound = sum(size for _, size, _, _ in found), self.settings.asked_bytes
        for used, size, name, keys in sorted(found):
            over = bool(bound) and total > bound
            if self.old(self.settings.asked_days, used) or over:
                total -= size
                why = f"all of its kind are above {bound} bytes" if over else "not asked for"
                yield Going("asked", f"database {name}", f"{why}; last used {self.days(used)} days ago", size), keys

    def neighbours(self) -> Iterator[tuple[Going, list[str]]]:
        """Varied databases; whoever needs one makes it again, byte for byte."""
        if self.settings.neighbours_days < 0:
            return
        for one in self.objects.entries(TEST_SUITES_PREFIX):
            if self.old(self.settings.neighbours_days, one.modified):
                why = f"made {self.days(one.modified)} days ago, and made again on need"
                yield Going("neighbour", one.key, why, one.size), [one.key]

    def unfinished(self, prefix: str, depth: int) -> Iterator[tuple[Going, list[str]]]:
        """Parts of what never became one: without its manifest, which comes last, it does not exist for anybody."""
        if self.settings.unfinished_days < 0:
            return
        for name, parts in grouped(self.objects.entries(prefix), lambda key: "/".join(key.split("/")[:depth])):
            if any(part.key == name + MANIFEST for part in parts):
                continue
            newest = max(part.modified for part in parts)
            if self.old(self.settings.unfinished_days, newest) and not self.objects.exists(name + MANIFEST):
                why = f"no manifest came in {self.days(newest)} days"
                yield Going("unfinished", name, why, sum(part.size for part in parts)), [part.key for part in parts]

    def answers(self) -> Iterator[tuple[Going, list[str]]]:
        """Recorded answers older than every living job: what a job has bought it finds for as long as it lives."""
        if self.settings.answers_days < 0:
            return
        begun = min((job.created_at for job in self.living()), default=self.now)
        for one in self.objects.entries(ANSWERS_PREFIX):
            if self.old(self.settings.answers_days, one.modified) and one.modified < begun:
                yield Going("answer", one.key, f"recorded {self.days(one.modified)} days ago", one.size), [one.key]

    def living(self) -> Iterator[JobRecord]:
        """Jobs that are not over."""
        for job_id in self.store.active():
            try:
                yield self.store.job(job_id)
            except NotFoundError:
                continue

    def uploads(self) -> Iterator[tuple[Going, list[str]]]:
        """Uploaded databases that nothing names: no data set, no job's spec or plan, in Redis or in an archive."""
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
                yield Going("upload", f"database {database_id}", why), keys

    def named(self) -> set[str]:
        """Every id of a database in manifests of data sets and in records of jobs: read as text, so that what this
        version cannot parse is respected all the same.
        """
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
        """For people."""
        return f"{(self.now - modified) / DAY_S:.1f}"


def grouped(entries: Iterable[ObjectInfo], name: Callable[[str], str]) -> Iterator[tuple[str, list[ObjectInfo]]]:
    """Entries by name."""
    ordered = sorted(((name(one.key), one) for one in entries), key=lambda part: (part[0], part[1].key))
    for found, parts in groupby(ordered, key=lambda part: part[0]):
        yield found, [one for _, one in parts]


def usage(objects: ObjectStore) -> dict[str, tuple[int, int]]:
    """Objects and bytes by kind: the first part of their keys."""
    found: dict[str, tuple[int, int]] = {}
    for one in objects.entries(""):
        kind = one.key.split("/")[0]
        number, size = found.get(kind, (0, 0))
        found[kind] = (number + 1, size + one.size)
    return found
