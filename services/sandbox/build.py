"""Databases from scripts that a model or a grammar wrote."""

import hashlib
import tempfile
from pathlib import Path

from services.sandbox.build_desk import BuildDesk
from services.sandbox.files import new_files
from services.sandbox.limits import Limits, checked_deadline
from services.sandbox.process import ChildDiedError, OverrunError
from shared.contracts.records import DatabaseScript
from shared.errors import InvalidInputError


def build_database(script: DatabaseScript, path: Path, desk: BuildDesk) -> str:
    """Write the database at `path`, read-only, and give its SHA-256 (hex); the same script gives the same bytes.

    The file appears whole or not at all. Raises InvalidInputError naming the statement or the table, CancelledError
    where the desk was closed.
    """
    check_script(script, desk.limits)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent) as folder:
        fresh = Path(folder) / "database.sqlite"
        run_script(script, fresh, desk)
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


def as_refusal(error: OverrunError | ChildDiedError, deadline_s: float) -> InvalidInputError:
    """What a script did that its child did not outlive."""
    if isinstance(error, OverrunError):
        return InvalidInputError(f"The database script ran longer than {deadline_s} s; make it smaller.")
    return InvalidInputError(f"The database script ended its process ({error}); make it smaller.")


def run_script(script: DatabaseScript, fresh: Path, desk: BuildDesk) -> None:
    """Builds in the desk's child."""
    deadline = checked_deadline(desk.limits.build_deadline_s)
    message = {"ddl": script.ddl, "inserts": script.inserts, "deadline_s": deadline}
    try:
        with new_files([fresh]) as files:
            reply = desk.ask(message, deadline, files)
    except (OverrunError, ChildDiedError) as error:
        raise as_refusal(error, deadline) from None
    if "refused" in reply:
        raise InvalidInputError(f"The database script cannot be used: {reply['refused']}.")
