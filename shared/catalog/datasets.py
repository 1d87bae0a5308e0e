"""Stored datasets: found by name and version, listed, read. A dataset without a manifest does not exist."""

import hashlib
from collections.abc import Iterator

from pydantic import ValidationError

from shared.contracts.datasets import DatasetManifest, parse_dataset_ref
from shared.contracts.records import Example, Policy
from shared.errors import InvalidInputError, NotFoundError
from shared.storage.keys import DATASETS_PREFIX, dataset_key
from shared.storage.records import CorruptObjectError, read_records
from shared.storage.store import ObjectStore

MANIFEST = "manifest.json"
EXAMPLES = "examples.jsonl"
VERSION_DIGITS = 16  # hex digits of a SHA-256


def example_id(database_id: str, question: str, evidence: str | None, gold: str, *, copy: int = 0) -> str:
    """The sandbox computes the same hash for verified examples; `copy` distinguishes equal questions."""
    parts = [database_id, question, evidence or "", gold, *([str(copy)] if copy else [])]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def dataset_version(examples_sha256: str, policy: Policy) -> str:
    return hashlib.sha256(f"{examples_sha256}\x1f{policy.value}".encode()).hexdigest()[:VERSION_DIGITS]


def manifest_keys(objects: ObjectStore, name: str | None = None) -> Iterator[str]:
    prefix = DATASETS_PREFIX if name is None else f"{DATASETS_PREFIX}{name}/"
    return (key for key in objects.list(prefix) if key.endswith(f"/{MANIFEST}"))


def read_manifest(objects: ObjectStore, key: str) -> DatasetManifest:
    try:
        return DatasetManifest.model_validate_json(objects.get(key))
    except ValidationError as error:
        raise CorruptObjectError(f"object {key!r} is no manifest of this version; import the dataset again") from error


def dataset_versions(objects: ObjectStore, name: str) -> list[DatasetManifest]:
    """Every version of a name, newest first; of two with the same time, the higher hash first."""
    found = [read_manifest(objects, key) for key in manifest_keys(objects, name)]
    return sorted(found, key=lambda one: (one.created_at, one.version), reverse=True)


def newest_datasets(objects: ObjectStore) -> list[DatasetManifest]:
    found: dict[str, DatasetManifest] = {}
    for key in manifest_keys(objects):
        one = read_manifest(objects, key)
        known = found.get(one.name)
        if known is None or (one.created_at, one.version) > (known.created_at, known.version):
            found[one.name] = one
    return sorted(found.values(), key=lambda one: (one.created_at, one.name), reverse=True)


def find_dataset(objects: ObjectStore, ref: str) -> DatasetManifest:
    """The manifest for NAME (its newest version) or NAME@VERSION.

    Raises `NotFoundError` (code dataset_not_found), or `InvalidInputError` for an invalid name.
    """
    try:
        name, version = parse_dataset_ref(ref)
    except ValueError as error:
        raise InvalidInputError(str(error)) from error
    if version is not None and objects.exists(key := dataset_key(name, version, MANIFEST)):
        return read_manifest(objects, key)
    known = dataset_versions(objects, name)
    if version is None and known:
        return known[0]
    remedy = f"its versions: {', '.join(one.version for one in known)}" if known else "list them with: sense datasets"
    raise NotFoundError(f"there is no dataset {ref!r}; {remedy}", code="dataset_not_found")


def read_examples(objects: ObjectStore, manifest: DatasetManifest) -> Iterator[Example]:
    return read_records(objects, manifest.examples, Example)


def choose_split(manifest: DatasetManifest, asked: str | None, order: tuple[str, ...]) -> str:
    there = ", ".join(sorted(manifest.splits))
    if asked is not None:
        if asked not in manifest.splits:
            raise InvalidInputError(f"dataset {manifest.name} has no split {asked!r}; it has {there}")
        return asked
    found = next((name for name in order if name in manifest.splits), None)
    if found is None:
        raise InvalidInputError(f"dataset {manifest.name} has none of the splits {', '.join(order)}; it has {there}")
    return found


def store_manifest(objects: ObjectStore, manifest: DatasetManifest) -> DatasetManifest:
    """Writes the manifest last, unless this version exists; returns the one that counts."""
    key = dataset_key(manifest.name, manifest.version, MANIFEST)
    # A version is a hash of its content, so an existing manifest describes the same examples.
    if objects.exists(key):
        return read_manifest(objects, key)
    objects.put(key, manifest.model_dump_json().encode())
    return manifest
