"""A data set as it arrives: a head, then one example a line, checked as they come and kept in a file until the end."""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pydantic import BaseModel, ValidationError

from services.gateway.backend import Backend
from services.gateway.http.access import Caller
from services.gateway.http.limits import check_owner, count_stored
from shared.catalog.databases import uploads_of_database
from shared.catalog.datasets import (
    EXAMPLES,
    dataset_version,
    dataset_versions,
    find_dataset,
    manifest_keys,
    read_manifest,
    store_manifest,
)
from shared.contracts.base import Owner
from shared.contracts.datasets import DATASET_SPLITS, DatasetHeader, DatasetManifest
from shared.contracts.records import Example
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError
from shared.jobs.reading import read_jobs
from shared.jobs.state import JobRecord
from shared.parsing import check_json
from shared.storage.keys import card_key, database_key, dataset_key, is_sha256
from shared.storage.store import ObjectStore

LINE_BYTES, LINE_VALUES = 1_000_000, 20_000
MAX_LINE_FAULTS = 20


class InvalidDatasetError(InvalidInputError):
    """A data set that cannot be used: `faults` name lines, the head being line 1."""

    code = "invalid_dataset"

    def __init__(self, faults: list[dict[str, str]]) -> None:
        lines = "; ".join(f"{fault['path']}: {fault['message']}" for fault in faults)
        super().__init__(f"the data set has {len(faults)} fault(s): {lines}")
        self.faults = faults


@dataclass
class UploadTotals:
    """What the examples so far hold."""

    questions: int = 0
    ids: dict[str, int] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    hardness: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


class DatasetUpload:
    """Lines are validated as they come in; `close` checks the databases and stores. Not thread safe."""

    def __init__(self, objects: ObjectStore, file: Any, owner: Owner | None = None) -> None:
        self.objects, self.file, self.owner = objects, file, owner
        self.head: DatasetHeader | None = None
        self.seen, self.faults = UploadTotals(), list[dict[str, str]]()
        self.rest, self.line = b"", 0
        self.digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """The next bytes. Raises DatasetError for a head that cannot be read, and after too many faults."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.take(line)
        if len(self.rest) > LINE_BYTES:
            raise InvalidDatasetError([{"path": f"line {self.line + 1}", "message": f"it is above {LINE_BYTES} bytes"}])

    def take(self, line: bytes) -> None:
        """One line; blank ones are skipped."""
        self.line += 1
        if not line.strip():
            return
        if self.head is None:
            self.head = self.parse(line, DatasetHeader)
            if self.head is None:
                raise InvalidDatasetError(self.faults)
            return
        example = self.parse(line, Example)
        if example is not None:
            self.keep(example)
        if len(self.faults) >= MAX_LINE_FAULTS:
            raise InvalidDatasetError(self.faults)

    def parse(self, line: bytes, model: type[BaseModel]) -> Any:
        """The line as a row, or None with its faults noted."""
        try:
            check_json(line, "it", LINE_VALUES)
            return model.model_validate_json(line)
        except InvalidInputError as error:
            self.fault(error.message)
            return None
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False)[:3]:
                place = ".".join(str(part) for part in fault["loc"])
                self.fault(f"{place}: {fault['msg']}" if place else str(fault["msg"]))
            return None

    def fault(self, message: str) -> None:
        """Something wrong with this line."""
        self.faults.append({"path": f"line {self.line}", "message": message})

    def keep(self, example: Example) -> None:
        """One example that fits, once its id, split and database are looked at."""
        seen, first = self.seen, self.seen.ids.setdefault(example.example_id, self.line)
        if first != self.line:
            return self.fault(f"example_id {example.example_id} stands on line {first} already")
        if example.split not in DATASET_SPLITS:
            return self.fault(f"split {example.split!r} is none of {', '.join(DATASET_SPLITS)}")
        if not is_sha256(example.database_id):
            return self.fault("database_id is no SHA-256 of a database; upload it first")
        if seen.databases.setdefault(example.domain, example.database_id) != example.database_id:
            return self.fault(f"the name {example.domain!r} stands for two databases; give each its own")
        seen.lines.setdefault(example.database_id, self.line)
        seen.questions += 1
        seen.hardness[example.split][example.hardness or "not stated"] += 1
        data = example.model_copy(update={"dataset": None}).model_dump_json().encode() + b"\n"
        self.digest.update(data)
        self.file.write(data)

    def close(self) -> tuple[DatasetManifest, bool]:
        """The stored data set, and whether it is new. Raises DatasetError with the faults of all lines."""
        if self.rest:
            self.take(self.rest)
        if self.head is None:
            raise InvalidDatasetError([{"path": "line 1", "message": "the body is empty; send a head, then examples"}])
        if not self.faults and not self.seen.questions:
            self.fault("there is no example; send one a line after the head")
        for database_id, line in self.seen.lines.items():
            if not self.objects.exists(card_key(database_id)):
                said = f"there is no database {database_id}; upload it first: sense databases add FILE"
                self.faults.append({"path": f"line {line}", "message": said})
        if self.faults:
            raise InvalidDatasetError(self.faults[:MAX_LINE_FAULTS])
        return self.store(self.head)

    def store(self, head: DatasetHeader) -> tuple[DatasetManifest, bool]:
        """Examples first, the manifest last."""
        version = dataset_version(self.digest.hexdigest(), head.policy)
        self.file.flush()
        examples = self.objects.put_file(dataset_key(head.name, version, EXAMPLES), Path(self.file.name))
        if examples.sha256 != self.digest.hexdigest():
            raise SenseError("the data set changed while it was stored; send it again", retryable=True)
        made = DatasetManifest(
            **dict(head),
            version=version,
            created_at=round(time.time(), 3),
            questions=self.seen.questions,
            splits={split: sum(counts.values()) for split, counts in sorted(self.seen.hardness.items())},
            hardness={split: dict(counts) for split, counts in sorted(self.seen.hardness.items())},
            databases=dict(sorted(self.seen.databases.items())),
            examples=examples,
            owner=self.owner,
        )
        stored = store_manifest(self.objects, made)
        return stored, stored is made


@contextmanager
def open_upload(objects: ObjectStore, owner: Owner | None = None) -> Iterator[DatasetUpload]:
    """An intake over a temporary file that is gone at the block's end."""
    with NamedTemporaryFile(prefix="sense-dataset-") as file:
        yield DatasetUpload(objects, file, owner)


IN_USE = "in_use"


def remove_database(backend: Backend, database_id: str, caller: Caller) -> None:
    """An uploaded database, as far as it is the caller's: its record first, so that a half removed one is not listed.

    Another key that brought the same bytes keeps them. Databases that jobs built are theirs and stay. Raises
    `NotFoundError`, `AccessError` (code not_owner), `ConflictError` (code in_use).
    """
    objects, records = backend.objects, uploads_of_database(backend.objects, database_id)
    if not records:
        raise NotFoundError(
            f"there is no uploaded database {database_id[:80]!r}; list them with: sense databases",
            code="database_not_found",
        )
    gone = {key: one for key, one in records.items() if caller.role == "admin" or one.owner == caller.owner}
    if not gone:
        check_owner(caller, next(iter(records.values())).owner, f"database {database_id}")
    if len(gone) == len(records):
        check_unused(backend, database_id)
    for key, one in gone.items():
        objects.delete(key)
        count_stored(backend, one.owner, -one.size)
    if len(gone) == len(records):
        for key in (card_key(database_id), database_key(database_id)):
            objects.delete(key)


def check_unused(backend: Backend, database_id: str) -> None:
    """Raises `ConflictError` (code in_use) while a data set or a job names the database."""
    objects = backend.objects
    for key in manifest_keys(objects):
        if database_id in (one := read_manifest(objects, key)).databases.values():
            raise ConflictError(f"data set {one.ref} holds this database; remove the data set first", code=IN_USE)
    for job in jobs_that_use(backend, f'"{database_id}"'):
        raise ConflictError(f"job {job.id} ({job.status.value}) was given this database; its rows need it", code=IN_USE)


def remove_dataset(backend: Backend, name: str, version: str | None, caller: Caller) -> None:
    """One version, or all of a name: manifests first. Databases stay.

    Raises `NotFoundError`, `AccessError` (code not_owner), `ConflictError`.
    """
    objects = backend.objects
    found = [find_dataset(objects, f"{name}@{version}")] if version else dataset_versions(objects, name)
    if not found:
        raise NotFoundError(f"there is no data set {name!r}; list them with: sense datasets", code="dataset_not_found")
    for one in found:
        check_owner(caller, one.owner, f"data set {one.ref}")
    for job in jobs_that_use(backend, f'"{name}'):
        if not job.status.terminal:
            raise ConflictError(f"job {job.id} is {job.status.value} and reads {name}; wait or cancel it", code=IN_USE)
    for one in found:
        prefix = dataset_key(one.name, one.version, "manifest.json").removesuffix("manifest.json")
        keys = list(objects.list(prefix))
        for key in sorted(keys, key=lambda key: not key.endswith("/manifest.json")):
            objects.delete(key)
        count_stored(backend, one.owner, -one.examples.size)


def jobs_that_use(backend: Backend, text: str) -> Iterator[JobRecord]:
    """Jobs of Redis whose spec holds that text."""
    for job in read_jobs(backend.jobs, backend.jobs.job_ids()):
        if text in json.dumps(job.spec):
            yield job
