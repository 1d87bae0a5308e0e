"""Uploads: a file is received, checked by a child behind walls, and stored by its content."""

import fcntl
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from services.sandbox.building.databases import store_database
from services.sandbox.execution.child_process import ChildDiedError, ChildProcess, OverrunError
from services.sandbox.execution.database_files import MAGIC, check_database_file, open_database_file
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from shared.catalog.databases import Upload, add_upload, find_upload
from shared.contracts.base import Owner
from shared.errors import CancelledError, InvalidInputError, SenseError
from shared.storage.cache import locked
from shared.storage.store import ObjectStore

INTAKE_CHILD = "services.sandbox.intake.child"
INVALID_DATABASE = "invalid_database"
SHOWN_WARNINGS = 20  # of the card's; the card has all


class TooLargeError(SenseError):
    code = "body_too_large"
    http_status = 413


class IncomingFile:
    """A file being received: hashed, bounded, and refused as soon as it cannot be a database."""

    def __init__(self, file: BinaryIO, path: Path, most: int) -> None:
        self.file, self.path, self.most = file, path, most
        self.size = 0
        self.digest = hashlib.sha256()
        self.head = b""

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self.most:
            raise TooLargeError(
                f"the database is above {self.most} bytes; the operator sets SENSE_SANDBOX_MAX_UPLOAD_BYTES"
            )
        if len(self.head) < len(MAGIC):
            self.head = (self.head + data)[: len(MAGIC)]
            if self.head != MAGIC[: len(self.head)]:
                raise InvalidInputError("the file is not a SQLite database, or it is encrypted", code=INVALID_DATABASE)
        self.digest.update(data)
        self.file.write(data)

    def close(self) -> str:
        """Return the SHA-256 (hex). Raises InvalidInputError for what `check_database_file` refuses."""
        self.file.flush()
        if not self.size:
            raise InvalidInputError("the body is empty; send the bytes of a SQLite file", code=INVALID_DATABASE)
        with hide_path(self.path):
            check_database_file(self.path)
        return self.digest.hexdigest()


class Intake:
    """Receives into `folder` and stores in `objects`. Thread-safe; `kill` ends what runs."""

    def __init__(self, objects: ObjectStore, folder: Path, *, most: int, deadline_s: float) -> None:
        self.objects, self.folder, self.most, self.deadline_s = objects, folder, most, deadline_s
        self.limits = replace(Limits(), gold_deadline_s=deadline_s)
        self.pool = SandboxPool(children=1, limits=self.limits)
        self._children: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._killed = False
        folder.mkdir(parents=True, exist_ok=True)
        delete_leftovers(folder)

    @contextmanager
    def arrival(self) -> Iterator[IncomingFile]:
        """Yield a file to receive into; it is deleted at the end of the block, whatever happens."""
        path = self.folder / f"{secrets.token_hex(8)}.part"
        # another process that deletes leftovers must not see the file before it is locked
        with locked(self.folder, fcntl.LOCK_SH):
            file = path.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)  # marks the file as being written
        try:
            with file:
                yield IncomingFile(file, path, self.most)
        finally:
            path.unlink(missing_ok=True)

    def take(self, arrival: IncomingFile, name: str, owner: Owner | None = None) -> tuple[Upload, bool]:
        """Check and store a received file; return its record and whether it is new. The name of the first upload stays.

        Each owner has a separate record, so removing one takes nothing from another. Raises InvalidInputError (code
        invalid_database).
        """
        database_id = arrival.close()
        known = find_upload(self.objects, database_id)
        if known is not None:
            own = known.model_copy(update={"owner": owner, "created_at": round(time.time(), 3)})
            return add_upload(self.objects, own), False
        found = self.look(arrival.path)
        with hide_path(arrival.path):
            card = store_database(self.objects, arrival.path, database_id, self.pool)
        found["warnings"] = [*found["warnings"], *card.warnings[:SHOWN_WARNINGS]]
        created = round(time.time(), 3)
        name = name or f"database-{database_id[:8]}"
        upload = Upload(id=database_id, name=name, size=arrival.size, created_at=created, owner=owner, **found)
        return add_upload(self.objects, upload), True

    def look(self, path: Path) -> dict[str, Any]:
        with self._child() as child, open_database_file(path) as file:
            try:
                reply = child.ask({"deadline_s": self.deadline_s}, self.deadline_s, [file])
            except OverrunError:
                reply = {"refused": f"could not be checked within {self.deadline_s} s"}
            except ChildDiedError as death:
                if self._killed:
                    raise CancelledError("the sandbox was stopped while it checked the file") from death
                reply = {"refused": f"ended the process that checked it ({death})"}
        if "refused" in reply:
            raise InvalidInputError(f"the file {reply['refused']}", code=INVALID_DATABASE)
        return reply

    @contextmanager
    def _child(self) -> Iterator[ChildProcess]:
        with self._lock:
            if self._killed:
                raise CancelledError("the sandbox is being stopped")
            child = ChildProcess(self.limits, INTAKE_CHILD)
            self._children.add(child)
        try:
            yield child
        finally:
            child.kill()
            child.reap()
            with self._lock:
                self._children.discard(child)

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            for child in self._children:
                child.kill()
        self.pool.kill()

    def close(self) -> None:
        self.kill()
        self.pool.close()


@contextmanager
def hide_path(path: Path) -> Iterator[None]:
    """Make errors name the file, not the place where this server keeps it."""
    try:
        yield
    except InvalidInputError as error:
        message = error.message.replace(repr(str(path)), "the file").replace(str(path), "the file").rstrip(".")
        raise InvalidInputError(message, code=INVALID_DATABASE) from error


def delete_leftovers(folder: Path) -> None:
    with locked(folder, fcntl.LOCK_EX):
        for path in folder.glob("*.part"):
            with suppress(OSError), path.open("rb") as file:
                # fails while a living process still writes the file
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
