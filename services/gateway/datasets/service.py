"""Receives datasets (a header, then one example a line), checks and stores them, and removes them."""

import hashlib
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
from services.gateway.jobs.service import find_specs
from shared.catalog.datasets import (
    EXAMPLES,
    dataset_version,
    dataset_versions,
    find_dataset,
    store_manifest,
)
from shared.contracts.base import Owner
from shared.contracts.datasets import DATASET_SPLITS, DatasetHeader, DatasetManifest, parse_dataset_ref
from shared.contracts.records import Example
from shared.contracts.spec import used_datasets
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError
from shared.parsing import check_json
from shared.storage.keys import card_key, dataset_key, is_sha256
from shared.storage.store import ObjectStore

LINE_BYTES, LINE_VALUES = 1_000_000, 20_000
MAX_LINE_FAULTS = 20


class InvalidDatasetError(InvalidInputError):
    """`faults` name lines; the header is line 1."""

    code = "invalid_dataset"

    def __init__(self, faults: list[dict[str, str]]) -> None:
        lines = "; ".join(f"{fault['path']}: {fault['message']}" for fault in faults)
        super().__init__(f"the dataset has {len(faults)} fault(s): {lines}")
        self.faults = faults


@dataclass
class UploadTotals:
    questions: int = 0
    ids: dict[str, int] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    hardness: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


class DatasetUpload:
    """Validates lines as they arrive; `close` checks the databases and stores the dataset. Not thread safe."""

    def __init__(self, objects: ObjectStore, file: Any, owner: Owner | None = None) -> None:
        self.objects, self.file, self.owner = objects, file, owner
        self.head: DatasetHeader | None = None
        self.seen, self.faults = UploadTotals(), list[dict[str, str]]()
        self.rest, self.line = b"", 0
        self.digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Takes the next bytes. Raises `InvalidDatasetError` for an unreadable header, or after too many faults."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.take(line)
        # Without this bound, a body without line breaks would be held in memory as a whole.
        if len(self.rest) > LINE_BYTES:
            raise InvalidDatasetError([{"path": f"line {self.line + 1}", "message": f"it is above {LINE_BYTES} bytes"}])

    def take(self, line: bytes) -> None:
        self.line += 1
        if not line.strip():
            return
        # Without the header nothing after it can be checked, so its faults end the upload.
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
        """None if the line has faults; they are recorded."""
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
        self.faults.append({"path": f"line {self.line}", "message": message})

    def keep(self, example: Example) -> None:
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
        # The version is a hash of these bytes, so they are written anew and not as they were sent.
        data = example.model_copy(update={"dataset": None}).model_dump_json().encode() + b"\n"
        self.digest.update(data)
        self.file.write(data)

    def close(self) -> tuple[DatasetManifest, bool]:
        """The stored dataset, and whether it is new. Raises `InvalidDatasetError` with the faults of all lines."""
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
        """Stores the examples first and the manifest last: a dataset that is listed is whole."""
        version = dataset_version(self.digest.hexdigest(), head.policy)
        self.file.flush()
        examples = self.objects.put_file(dataset_key(head.name, version, EXAMPLES), Path(self.file.name))
        if examples.sha256 != self.digest.hexdigest():
            raise SenseError("the dataset changed while it was stored; send it again", retryable=True)
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
    with NamedTemporaryFile(prefix="sense-dataset-") as file:
        yield DatasetUpload(objects, file, owner)


def remove_dataset(backend: Backend, name: str, version: str | None, caller: Caller) -> None:
    """Removes one version, or all versions of a name. Databases stay.

    Raises `NotFoundError`, `AccessError` (code not_owner), `ConflictError` while an unfinished job reads it.
    """
    objects = backend.objects
    found = [find_dataset(objects, f"{name}@{version}")] if version else dataset_versions(objects, name)
    if not found:
        raise NotFoundError(f"there is no dataset {name!r}; list them with: sense datasets", code="dataset_not_found")
    # Every check comes before the first deletion.
    for one in found:
        check_owner(caller, one.owner, f"dataset {one.ref}")
    for job, spec in find_specs(backend, name):
        refs = map(parse_dataset_ref, used_datasets(spec))
        used = any(one == name and (None in (version, wanted) or wanted == version) for one, wanted in refs)
        if used and not job.status.terminal:
            raise ConflictError(
                f"job {job.id} is {job.status.value} and reads {name}; wait or cancel it", code="in_use"
            )
    for one in found:
        prefix = dataset_key(one.name, one.version, "manifest.json").removesuffix("manifest.json")
        keys = list(objects.list(prefix))
        # The manifest is deleted first, so that no listed dataset lacks its examples.
        for key in sorted(keys, key=lambda key: not key.endswith("/manifest.json")):
            objects.delete(key)
        count_stored(backend, one.owner, -one.examples.size)
