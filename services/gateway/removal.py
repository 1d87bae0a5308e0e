"""What may go: only what no data set and no job that Redis knows still names."""

import json
from collections.abc import Iterator

from services.gateway.access import Caller
from services.gateway.backend import Backend
from services.gateway.limits import add_stored, check_owner
from services.gateway.listing import walk_jobs
from shared.catalog.databases import uploads_of_database
from shared.catalog.datasets import dataset_versions, find_dataset, manifest_keys, read_manifest
from shared.errors import ConflictError, NotFoundError
from shared.jobs.state import JobRecord
from shared.storage.keys import card_key, database_key, dataset_key

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
        add_stored(backend, one.owner, -one.size)
    if len(gone) == len(records):
        for key in (card_key(database_id), database_key(database_id)):
            objects.delete(key)


def check_unused(backend: Backend, database_id: str) -> None:
    """Raises `ConflictError` (code in_use) while a data set or a job names the database."""
    objects = backend.objects
    for key in manifest_keys(objects):
        if database_id in (one := read_manifest(objects, key)).databases.values():
            raise ConflictError(f"data set {one.ref} holds this database; remove the data set first", code=IN_USE)
    for job in jobs_that_name(backend, f'"{database_id}"'):
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
    for job in jobs_that_name(backend, f'"{name}'):
        if not job.status.terminal:
            raise ConflictError(f"job {job.id} is {job.status.value} and reads {name}; wait or cancel it", code=IN_USE)
    for one in found:
        prefix = dataset_key(one.name, one.version, "manifest.json").removesuffix("manifest.json")
        keys = list(objects.list(prefix))
        for key in sorted(keys, key=lambda key: not key.endswith("/manifest.json")):
            objects.delete(key)
        add_stored(backend, one.owner, -one.examples.size)


def jobs_that_name(backend: Backend, text: str) -> Iterator[JobRecord]:
    """Jobs of Redis whose spec holds that text."""
    for job in walk_jobs(backend.jobs, backend.jobs.job_ids()):
        if text in json.dumps(job.spec):
            yield job
