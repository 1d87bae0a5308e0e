"""Databases built from scripts, and databases in the object store: stored once, never changed."""

import hashlib
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from services.sandbox.execution.child_process import ChildDiedError, OverrunError
from services.sandbox.execution.database_files import create_files
from services.sandbox.execution.limits import checked_deadline
from services.sandbox.execution.pool import BuildProcess, SandboxPool
from services.sandbox.execution.sql_text import BUILD_STATEMENTS, first_words, is_blank
from shared.catalog.databases import SchemaCard
from shared.contracts.records import DatabaseScript
from shared.errors import InvalidInputError, NotFoundError
from shared.settings import PathSettings
from shared.sql.tokens import tokens
from shared.storage.cache import local_copy
from shared.storage.keys import card_key, database_key, ddl_card_key, ddl_database_key
from shared.storage.store import ObjectStore


def build_database(script: DatabaseScript, path: Path, builder: BuildProcess) -> str:
    """Write the database at `path`, read-only, and return its SHA-256 (hex).

    The same script gives the same bytes. The file appears whole or not at all. Raises InvalidInputError naming the
    statement or table, and CancelledError when the build process was closed.
    """
    limits = builder.limits
    try:
        size = sum(len(sql.encode()) for sql in [*script.ddl, *script.inserts])
    except UnicodeEncodeError:
        raise InvalidInputError("The database script holds a character that is not valid Unicode.") from None
    if size > limits.build_script_bytes:
        raise InvalidInputError(f"The database script has {size} bytes; at most {limits.build_script_bytes} are run.")
    deadline = checked_deadline(limits.build_deadline_s)
    request = {"ddl": script.ddl, "inserts": script.inserts, "deadline_s": deadline}
    with tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent) as folder:
        fresh = Path(folder) / "database.sqlite"
        try:
            with create_files([fresh]) as files:
                reply = builder.ask(request, deadline, files)
        except OverrunError:
            message = f"The database script ran longer than {deadline} s; make it smaller."
            raise InvalidInputError(message) from None
        except ChildDiedError as error:
            raise InvalidInputError(f"The database script ended its process ({error}); make it smaller.") from None
        if "refused" in reply:
            raise InvalidInputError(f"The database script cannot be used: {reply['refused']}.")
        fresh.chmod(0o444)
        found = hashlib.sha256(fresh.read_bytes()).hexdigest()
        # a rename in one folder: readers see the whole file or none
        fresh.replace(path)
    return found


def make_card(path: Path, database_id: str, *, sample_rows: int = 5, pool: SandboxPool | None = None) -> SchemaCard:
    """Tables and views are in order of creation, with their first rows.

    A child of `pool`, or of a new one, reads the file. Raises NotFoundError or InvalidInputError naming the file.
    """
    if pool is not None:
        found = pool.describe_all(path, sample_rows)
        about = {name: found[name] for name in ("tables", "views", "warnings")}
        return SchemaCard.model_validate({"database_id": database_id, "size": path.stat().st_size, **about})
    with SandboxPool(children=1) as own:
        return make_card(path, database_id, sample_rows=sample_rows, pool=own)


REMEMBERED = 10_000  # entries of either cache before it is emptied
TOUCHED_S = 3600.0  # how precisely the last use of a DDL database is known
_touched: dict[str, float] = {}
_built: dict[str, str] = {}  # script hash -> database id: the grammar's few databases recur in every shard


def script_hash(script: DatabaseScript) -> str:
    return hashlib.sha256(script.model_dump_json().encode()).hexdigest()


def build_stored_database(objects: ObjectStore, script: DatabaseScript, pool: SandboxPool) -> str:
    """Store the file and its card unless they are known, and return the id. Raises InvalidInputError."""
    digest = script_hash(script)
    known = _built.get(digest)
    if known is not None and objects.exists(card_key(known)):
        return known
    with tempfile.TemporaryDirectory(prefix="sense-build-") as folder:
        path = Path(folder) / "new.sqlite"
        database_id = build_database(script, path, pool.builder)
        store_database(objects, path, database_id, pool)
    remember_built(digest, database_id)
    return database_id


def remember_built(digest: str, database_id: str) -> None:
    if len(_built) >= REMEMBERED:
        _built.clear()
    _built[digest] = database_id


def build_ddl_database(objects: ObjectStore, script: DatabaseScript, pool: SandboxPool) -> str:
    """Like `build_stored_database`, for one question only: what no job or dataset holds is stored apart and expires."""
    digest = script_hash(script)
    known = _built.get(digest)
    if known is not None and (objects.exists(card_key(known)) or touch_ddl_database(objects, known)):
        return known
    with tempfile.TemporaryDirectory(prefix="sense-build-") as folder:
        path = Path(folder) / "new.sqlite"
        database_id = build_database(script, path, pool.builder)
        if not objects.exists(card_key(database_id)) and not touch_ddl_database(objects, database_id):
            card = make_card(path, database_id, pool=pool)
            objects.put_file(ddl_database_key(database_id), path)
            objects.put(ddl_card_key(database_id), card.model_dump_json().encode())
    remember_built(digest, database_id)
    return database_id


def touch_ddl_database(objects: ObjectStore, database_id: str) -> bool:
    """Record that the database is used now, at most once an hour per process; False if it does not exist."""
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
    """Store a file and then its card; a file that cannot be described is not stored."""
    if objects.exists(card_key(database_id)):
        return SchemaCard.model_validate_json(objects.get(card_key(database_id)))
    card = make_card(path, database_id, pool=pool)
    if not card.tables:
        message = card.warnings[0] if card.warnings else "it has none"
        raise InvalidInputError(f"{path} has no table that can be read: {message}.")
    # the card comes last: whoever finds it may rely on the file
    objects.put_file(database_key(database_id), path)
    objects.put(card_key(database_id), card.model_dump_json().encode())
    return card


def local_database(objects: ObjectStore, database_id: str) -> Path:
    """The database as a local file, whether stored for good or built from DDL. Raises NotFoundError."""
    folder = PathSettings().databases
    try:
        return local_copy(objects, database_key(database_id), folder)
    except NotFoundError:
        if not touch_ddl_database(objects, database_id):
            raise
        return local_copy(objects, ddl_database_key(database_id), folder)


INVALID_DDL = "invalid_ddl"
# Statements in dumps that do not change what a query sees. Any other that is not run is an error.
SKIPPED_STATEMENTS = re.compile(
    r"BEGIN|COMMIT|PRAGMA|ANALYZE|SET|CREATE (TEMP |TEMPORARY )?(VIEW|TRIGGER)|DROP|END|USE"
)


@dataclass(frozen=True)
class SplitScript:
    """The statements to run, and the first words of those that are skipped."""

    script: DatabaseScript
    skipped: list[str]


def split_script(text: str) -> SplitScript:
    """Raises InvalidInputError (code invalid_ddl) when no CREATE TABLE is left."""
    ddl: list[str] = []
    inserts: list[str] = []
    skipped: list[str] = []
    for statement in split_statements(text):
        words = " ".join(first_words(statement, 3).upper().split())
        if SKIPPED_STATEMENTS.match(words) and not BUILD_STATEMENTS.match(words):
            skipped.append(first_words(statement))
        else:
            (inserts if words.startswith(("INSERT", "REPLACE")) else ddl).append(statement)
    if not any(first_words(one, 2).upper().startswith("CREATE TABLE") for one in ddl):
        raise InvalidInputError("the DDL holds no CREATE TABLE statement", code=INVALID_DDL)
    return SplitScript(DatabaseScript(ddl=ddl, inserts=inserts), skipped)


def split_statements(text: str) -> list[str]:
    """Split at semicolons outside quotes and comments; the body of a trigger stays in one piece."""
    found: list[str] = []
    parts: list[str] = []
    words: list[str] = []
    depth = 0
    for kind, piece in tokens(text):
        if kind == "word":
            words.append(piece.upper())
            # BEGIN and CASE both close with END
            if "TRIGGER" in words[:3]:
                depth += (piece.upper() in ("BEGIN", "CASE")) - (piece.upper() == "END")
        if piece == ";" and depth <= 0:
            found.append("".join(parts))
            parts, words, depth = [], [], 0
        else:
            parts.append(piece)
    found.append("".join(parts))
    return [one.strip() for one in found if not is_blank(one)]
