"""Test-suite databases: files with the schema, keys and constraints of a database, and other rows."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from services.sandbox.building.databases import local_database
from services.sandbox.execution.child_process import ChildDiedError, ChildProcess, OverrunError
from services.sandbox.execution.database_files import check_database_file, create_files, open_database_file
from services.sandbox.execution.limits import Limits, checked_deadline
from services.sandbox.judging.suite_review import DatabaseSuite
from services.sandbox.test_suites.constants import Constant, extract_constants, usable_constants
from services.sandbox.test_suites.schema import SuiteLimits
from shared.catalog.databases import SchemaCard
from shared.errors import InvalidInputError, NotFoundError
from shared.logging import get_logger
from shared.settings import PathSettings
from shared.storage.cache import local_copy
from shared.storage.keys import card_key, test_suite_database_key
from shared.storage.store import ObjectStore

SUITE_CHILD = "services.sandbox.test_suites.child"


def generate_suite(
    database: Path,
    folder: Path,
    *,
    count: int,
    seed: int,
    constants: Sequence[Constant] = (),
    limits: Limits | None = None,
    caps: SuiteLimits | None = None,
) -> list[Path]:
    """Write `0.sqlite` … into `folder`, read-only; each appears whole or not at all.

    Database i depends on the original's bytes, `seed`, i, the set of `constants` and `caps`, and on nothing else. A
    child does the work in at most `limits.build_deadline_s` seconds. Raises NotFoundError for a missing file,
    InvalidInputError for one that cannot be read or varied.
    """
    limits, caps = limits or Limits(), caps or SuiteLimits()
    check_database_file(database)
    if not 1 <= count <= caps.databases:
        raise InvalidInputError(
            f"{count} test-suite databases cannot be made of {database}; ask for 1 to {caps.databases}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".varying-", dir=folder) as fresh:
        names = [f"{index}.sqlite" for index in range(count)]
        kept = usable_constants(constants, caps.constants, caps.constant_chars)
        with open_database_file(database) as source, create_files([Path(fresh, name) for name in names]) as targets:
            request = {"seed": seed, "constants": kept, "caps": caps.to_json()}
            run_child(database, request, [source, *targets], limits)
        for name in names:
            Path(fresh, name).chmod(0o444)
        return [Path(fresh, name).replace(folder / name) for name in names]


def run_child(database: Path, request: dict[str, object], files: Sequence[int], limits: Limits) -> None:
    deadline = checked_deadline(limits.build_deadline_s)
    # each file to write is one more descriptor
    child = ChildProcess(replace(limits, open_files=limits.open_files + len(files)), SUITE_CHILD)
    try:
        reply = child.ask({**request, "deadline_s": deadline}, deadline, files)
    except OverrunError:
        raise generation_error(database, f"varying it took longer than {deadline} s") from None
    except ChildDiedError as death:
        raise generation_error(database, f"varying it ended the process ({death})") from None
    finally:
        child.kill()
        child.reap()
    if "unfit" in reply:
        raise generation_error(database, str(reply["unfit"]))


def generation_error(database: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"No test-suite databases can be made of {database}: {why}. Repair the file, or judge on it alone."
    )


VERSION = 1  # goes up when the generator's files change
SEED = 0
log = get_logger()


def prepare_suites(objects: ObjectStore, sqls: Mapping[str, Sequence[str]], count: int) -> dict[Path, DatabaseSuite]:
    return {local_database(objects, name): prepare_suite(objects, name, texts, count) for name, texts in sqls.items()}


def prepare_suite(objects: ObjectStore, database_id: str, sqls: Iterable[str], count: int) -> DatabaseSuite:
    """`count` stored test-suite databases for these golds and candidates; none if the database cannot be varied.

    They depend on the database, the literals of `sqls` and the generator's version. Two workers that make the same ones
    at once write the same bytes.
    """
    constants = extract_constants(sqls)
    parts = [VERSION, SEED, [[type(value).__name__, value] for value in constants]]
    name = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
    keys = [test_suite_database_key(database_id, name, index) for index in range(count)]
    try:
        files = fetch_suite(objects, database_id, keys, constants)
    except InvalidInputError as error:
        log.warning("test_suites.none", database=database_id, reason=error.message)
        return DatabaseSuite((), {})
    card = SchemaCard.model_validate_json(objects.get(card_key(database_id)))
    primary_keys = {
        table.name.lower(): frozenset(column.name.lower() for column in table.columns if column.primary_key)
        for table in card.tables
    }
    return DatabaseSuite(files, primary_keys)


def fetch_suite(
    objects: ObjectStore, database_id: str, keys: Sequence[str], constants: Sequence[Constant]
) -> list[Path]:
    """Local files, generated if missing: retention deletes old ones at any time."""
    try:
        if all(objects.exists(key) for key in keys):
            return [local_copy(objects, key, PathSettings().databases) for key in keys]
    # deleted between the two calls: generate it again
    except NotFoundError:
        pass
    database = local_database(objects, database_id)
    with tempfile.TemporaryDirectory(prefix="sense-suites-") as folder:
        files = generate_suite(database, Path(folder), count=len(keys), seed=SEED, constants=constants)
        for key, file in zip(keys, files, strict=True):
            objects.put_file(key, file)
    return [local_copy(objects, key, PathSettings().databases) for key in keys]
