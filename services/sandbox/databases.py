"""Databases between the object store and the sandbox: sealed once, brought once, never changed."""

import hashlib
import tempfile
import time
from pathlib import Path

from services.sandbox.build import build_database
from services.sandbox.card import make_card
from services.sandbox.pool import SandboxPool
from shared.catalog.databases import SchemaCard
from shared.contracts.records import DatabaseScript
from shared.errors import InvalidInputError, NotFoundError
from shared.settings import PathSettings
from shared.storage.cache import local_copy
from shared.storage.keys import card_key, database_key, ddl_card_key, ddl_database_key
from shared.storage.store import ObjectStore

REMEMBERED = 10_000
TOUCHED_S = 3600.0  # how exactly the last use of a database that was asked for is known
_touched: dict[str, float] = {}
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
    remember(digest, database_id)
    return database_id


def remember(digest: str, database_id: str) -> None:
    """What a script was built to."""
    if len(_built) >= REMEMBERED:
        _built.clear()
    _built[digest] = database_id


def seal_asked(objects: ObjectStore, script: DatabaseScript, pool: SandboxPool) -> str:
    """As `seal_database`, for a question only: what no job or data set has is kept apart, and for a time."""
    digest = script_hash(script)
    known = _built.get(digest)
    if known is not None and (objects.exists(card_key(known)) or touch_asked(objects, known)):
        return known
    with tempfile.TemporaryDirectory(prefix="sense-build-") as folder:
        path = Path(folder) / "new.sqlite"
        database_id = build_database(script, path, pool.desk)
        if not objects.exists(card_key(database_id)) and not touch_asked(objects, database_id):
            card = make_card(path, database_id, pool=pool)
            objects.put_file(ddl_database_key(database_id), path)
            objects.put(ddl_card_key(database_id), card.model_dump_json().encode())
    remember(digest, database_id)
    return database_id


def touch_asked(objects: ObjectStore, database_id: str) -> bool:
    """Notes that it is used now, at most once an hour a process; False where there is none."""
    key, now = ddl_card_key(database_id), time.monotonic()
    if now - _touched.get(database_id, -TOUCHED_S) < TOUCHED_S:
        return objects.exists(key)
    try:
        objects.put(key, objects.get(key))
    except NotFoundError:
        return False
    if len(_touched) >= REMEMBERED:
        _touched.clear()
    _touched[database_id] = now
    return True


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
    """The database as a local file, stored for good or built for a question. Raises `NotFoundError`."""
    folder = PathSettings().databases
    try:
        return local_copy(objects, database_key(database_id), folder)
    except NotFoundError:
        if not touch_asked(objects, database_id):
            raise
        return local_copy(objects, ddl_database_key(database_id), folder)
