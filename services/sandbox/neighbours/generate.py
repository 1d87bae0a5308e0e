"""Neighbours of a database: files with the same schema, keys and constraints, and other rows."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from services.sandbox.files import identify, new_files, opened
from services.sandbox.limits import Limits, checked_deadline
from services.sandbox.neighbours.caps import Caps
from services.sandbox.neighbours.constants_home import Constant, usable
from services.sandbox.process import ChildDiedError, ChildProcess, OverrunError
from shared.errors import InvalidInputError

MODULE = "services.sandbox.neighbours.child"


def make_neighbours(
    database: Path,
    folder: Path,
    *,
    count: int,
    seed: int,
    constants: Sequence[Constant] = (),
    limits: Limits | None = None,
    caps: Caps | None = None,
) -> list[Path]:
    """Write `0.sqlite` … into `folder`, read-only; each appears whole or not at all.

    Neighbour i depends on the database's bytes, `seed`, i, the set of `constants` and `caps`, and on nothing else. A
    child process does the work, at most `limits.build_deadline_s` seconds long.
    Raises NotFoundError for a missing file; InvalidInputError for one that cannot be read or varied, naming it.
    """
    limits, caps = limits or Limits(), caps or Caps()
    identify(database)
    if not 1 <= count <= caps.neighbours:
        raise InvalidInputError(f"{count} neighbours cannot be made of {database}; ask for 1 to {caps.neighbours}.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".varying-", dir=folder) as fresh:
        names = [f"{index}.sqlite" for index in range(count)]
        kept = usable(constants, caps.constants, caps.constant_chars)
        with opened(database) as source, new_files([Path(fresh, name) for name in names]) as targets:
            request = {"seed": seed, "constants": kept, "caps": caps.to_json()}
            run_child(database, request, [source, *targets], limits)
        return [sealed(Path(fresh), folder, name) for name in names]


def sealed(fresh: Path, folder: Path, name: str) -> Path:
    """The file in its place, read-only."""
    (fresh / name).chmod(0o444)
    return (fresh / name).replace(folder / name)


def run_child(database: Path, request: dict[str, object], files: Sequence[int], limits: Limits) -> None:
    """Vary in a child of its own, which gets the files; it is gone when this returns."""
    deadline = checked_deadline(limits.build_deadline_s)
    child = ChildProcess(replace(limits, open_files=limits.open_files + len(files)), MODULE)
    try:
        reply = child.ask({**request, "deadline_s": deadline}, deadline, files)
    except OverrunError:
        raise refused(database, f"varying it took longer than {deadline} s") from None
    except ChildDiedError as death:
        raise refused(database, f"varying it ended the process ({death})") from None
    finally:
        child.kill()
        child.reap()
    if "unfit" in reply:
        raise refused(database, str(reply["unfit"]))


def refused(database: Path, why: str) -> InvalidInputError:
    """The error for the user."""
    return InvalidInputError(f"No neighbours can be made of {database}: {why}. Repair the file, or judge on it alone.")
