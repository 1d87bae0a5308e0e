"""Databases between the object store and the sandbox: sealed once, brought once, never changed."""

import hashlib
import tempfile
from pathlib import Path

from services.sandbox.build import build_database
from services.sandbox.card import make_card
from services.sandbox.pool import SandboxPool
from shared.contracts.records import DatabaseScript
from shared.errors import InvalidInputError
from shared.settings import PathSettings
from shared.sql.card import SchemaCard
from shared.storage.base import ObjectStore
from shared.storage.cache import local_copy
from shared.storage.keys import card_key, database_key

REMEMBERED = 10_000
_built: dict[str, str] = {}  # script hash -> database id: a grammar's few databases come back in every shard


def script_hash(script: DatabaseScript) -> str:
    """SHA-256 (hex) of a script's statements."""
    return hashlib.sha256(script.model_dump_json().encode()).hexdigest()


def seal_database(objects: ObjectStore, script: DatabaseScript, pool: SandboxPool) -> str:
    """Builds the database where it is new, stores file and card, and answers its id. Raises `InvalidInputError`."""
    digest = script_hash(script)
    known = _built.get(digest)
    if known is not None and objects.exists(card_key(known)):
        return known
    with tempfile.TemporaryDirectory(prefix="sense-build-") as folder:
        path = Path(folder) / "new.sqlite"
        database_id = build_database(script, path, pool.desk)
        store_database(objects, path, database_id, pool)
    if len(_built) >= REMEMBERED:
        _built.clear()
    _built[digest] = database_id
    return database_id


def store_database(objects: ObjectStore, path: Path, database_id: str, pool: SandboxPool) -> SchemaCard:
    """Stores a sealed file and, last, its card; a file that cannot be described is not stored."""
    if objects.exists(card_key(database_id)):
        return SchemaCard.model_validate_json(objects.get(card_key(database_id)))
    card = make_card(path, database_id, pool=pool)
    if not card.tables:
        said = card.warnings[0] if card.warnings else "it has none"
        raise InvalidInputError(f"{path} has no table that can be read: {said}.")
    objects.put_file(database_key(database_id), path)
    objects.put(card_key(database_id), card.model_dump_json().encode())
    return card


def local_database(objects: ObjectStore, database_id: str) -> Path:
    """The database as a local file."""
    return local_copy(objects, database_key(database_id), PathSettings().databases)
