"""The neighbours of a stored database: made once for a set of constants, kept beside it in the object store."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from services.sandbox.databases import local_database
from services.sandbox.neighbours.constants import Constant, constants_of
from services.sandbox.neighbours.generate import make_neighbours
from services.sandbox.neighbours.validity import Keys
from services.sandbox.second_look import Neighbourhood
from shared.catalog.databases import SchemaCard
from shared.errors import InvalidInputError, NotFoundError
from shared.logging import get_logger
from shared.settings import PathSettings
from shared.storage.cache import local_copy
from shared.storage.keys import card_key, test_suite_database_key
from shared.storage.store import ObjectStore

VERSION = 1  # goes up when the generator's files change
SEED = 0
log = get_logger()


def neighbourhood(objects: ObjectStore, database_id: str, sqls: Iterable[str], count: int) -> Neighbourhood:
    """`count` neighbours for these golds and candidates; none where the database cannot be varied.

    Which ones depends on the database, the literals of `sqls` and the generator's version. Two workers that make the
    same ones at once write the same bytes.
    """
    constants = constants_of(sqls)
    keys = [test_suite_database_key(database_id, set_name(constants), index) for index in range(count)]
    try:
        files = bring(objects, database_id, keys, constants)
    except InvalidInputError as error:
        log.warning("neighbours.none", database=database_id, reason=error.message)
        return Neighbourhood((), {})
    return Neighbourhood(files, primary_keys(SchemaCard.model_validate_json(objects.get(card_key(database_id)))))


def bring(objects: ObjectStore, database_id: str, keys: Sequence[str], constants: Sequence[Constant]) -> list[Path]:
    """The neighbours as local files, made where they are not there: retention takes old ones away at any time."""
    try:
        if all(objects.exists(key) for key in keys):
            return [local_copy(objects, key, PathSettings().databases) for key in keys]
    except NotFoundError:
        pass
    make(objects, local_database(objects, database_id), keys, constants)
    return [local_copy(objects, key, PathSettings().databases) for key in keys]


def set_name(constants: Sequence[Constant]) -> str:
    """What tells sets of neighbours of one database apart; hex."""
    parts = [VERSION, SEED, [[type(value).__name__, value] for value in constants]]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def make(objects: ObjectStore, database: Path, keys: Sequence[str], constants: Sequence[Constant]) -> None:
    """Makes all of a set and stores them."""
    with tempfile.TemporaryDirectory(prefix="sense-neighbours-") as folder:
        files = make_neighbours(database, Path(folder), count=len(keys), seed=SEED, constants=constants)
        for key, file in zip(keys, files, strict=True):
            objects.put_file(key, file)


def primary_keys(card: SchemaCard) -> Keys:
    """Table -> the columns of its primary key, all lower case."""
    return {
        table.name.lower(): frozenset(column.name.lower() for column in table.columns if column.primary_key)
        for table in card.tables
    }
