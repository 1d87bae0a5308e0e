"""Databases from scripts that a model or a grammar wrote."""

import hashlib
import tempfile
from pathlib import Path

from services.sandbox.limits import Limits, checked_deadline
from services.sandbox.process import ChildDiedError, ChildProcess, OverrunError
from shared.contracts.records import DatabaseScript
from shared.errors import InvalidInputError

MODULE = "services.sandbox.build_child"


def build_database(script: DatabaseScript, path: Path, *, limits: Limits | None = None) -> str:
    """Write the database at `path`, read-only, and give its SHA-256 (hex); the same script gives the same bytes.

    The file appears whole or not at all. Raises InvalidInputError naming the statement or the table.
    """
    limits = limits or Limits()
    check_script(script, limits)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent) as folder:
        fresh = Path(folder) / "database.sqlite"
        run_child(script, fresh, limits)
        fresh.chmod(0o444)
        found = hashlib.sha256(fresh.read_bytes()).hexdigest()
        fresh.replace(path)
    return found


def check_script(script: DatabaseScript, limits: Limits) -> None:
    """Refuse a script by its size, or one that is not text, before anything runs."""
    try:
        size = sum(len(sql.encode()) for sql in [*script.ddl, *script.inserts])
    except UnicodeEncodeError:
        raise InvalidInputError("The database script holds a character that is not valid Unicode.") from None
    if size > limits.build_script_bytes:
        raise InvalidInputError(f"The database script has {size} bytes; at most {limits.build_script_bytes} are run.")


def run_child(script: DatabaseScript, fresh: Path, limits: Limits) -> None:
    """Build in a child of its own; it is gone when this returns."""
    deadline = checked_deadline(limits.build_deadline_s)
    message = {"path": str(fresh.absolute()), "ddl": script.ddl, "inserts": script.inserts, "deadline_s": deadline}
    child = ChildProcess(limits, MODULE)
    try:
        reply = child.ask(message, deadline)
    except OverrunError:
        raise InvalidInputError(f"The database script ran longer than {deadline} s; make it smaller.") from None
    except ChildDiedError as death:
        raise InvalidInputError(f"The database script ended its process ({death}); make it smaller.") from None
    finally:
        child.kill()
        child.reap()
    if "refused" in reply:
        raise InvalidInputError(f"The database script cannot be used: {reply['refused']}.")
