"""Uploaded databases: who brought what, as small objects beside the files. A record is written once, after all else."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from shared.contracts.refs import Owner
from shared.storage.base import ObjectStore
from shared.storage.keys import UPLOADS_PREFIX, upload_key


class Upload(BaseModel):
    """A database that somebody brought. `size` in bytes; `created_at` in seconds since 1970; `views` and `triggers` lie
    in the file: views can be queried, triggers never fire. `warnings` are sentences about what is odd but readable.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    name: str
    size: int
    created_at: float
    tables: int
    views: int = 0
    triggers: int = 0
    warnings: list[str] = []
    owner: Owner | None = None


def upload_ids(objects: ObjectStore) -> dict[str, str]:
    """Keys of the records by database id, oldest first; of two that raced the older one counts."""
    ids: dict[str, str] = {}
    for key in objects.list(UPLOADS_PREFIX):
        ids.setdefault(key.removesuffix(".json").rpartition("-")[2], key)
    return ids


def records_of(objects: ObjectStore, database_id: str) -> dict[str, Upload]:
    """Every record of one database by its key, oldest first: each key that brought it has one."""
    keys = [key for key in objects.list(UPLOADS_PREFIX) if key.endswith(f"-{database_id}.json")]
    return dict(zip(keys, read_uploads(objects, keys), strict=True))


def find_upload(objects: ObjectStore, database_id: str) -> Upload | None:
    """The record of one database, where it was uploaded."""
    key = upload_ids(objects).get(database_id)
    return Upload.model_validate_json(objects.get(key)) if key else None


def read_uploads(objects: ObjectStore, keys: list[str]) -> Iterator[Upload]:
    """These records, in this order."""
    for key in keys:
        yield Upload.model_validate_json(objects.get(key))


def add_upload(objects: ObjectStore, upload: Upload) -> Upload:
    """Records it, unless its owner has; gives the record that counts, the oldest."""
    known = list(records_of(objects, upload.id).values())
    if any(one.owner == upload.owner for one in known):
        return known[0]
    objects.put(upload_key(int(upload.created_at * 1000), upload.id), upload.model_dump_json().encode())
    return known[0] if known else upload
