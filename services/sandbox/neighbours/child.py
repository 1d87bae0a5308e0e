"""The child that varies one database and ends: `python -m services.sandbox.neighbours.child LIMITS_JSON PROGRESS_FD
FILES_FD`.
"""

from typing import Any

import apsw

from services.sandbox.connection import Clock, ReadConnection
from services.sandbox.frames import write_all
from services.sandbox.given import given_path
from services.sandbox.limits import Limits
from services.sandbox.neighbours.caps import Caps
from services.sandbox.neighbours.plan import make_plan
from services.sandbox.neighbours.schema import UnfitError
from services.sandbox.neighbours.vary import Variation
from services.sandbox.one_task import serve_once
from services.sandbox.outcomes import UnusableDatabaseError, classify


def vary(request: dict[str, Any], files: list[int], limits: Limits, clock: Clock) -> None:
    """Read the database that the first file is, and write a neighbour of it to each of the others."""
    caps = Caps.from_json(request["caps"])
    source = ReadConnection(given_path(files[0]), limits, clock)
    source.sqlite.authorizer = None  # from here on all statements are ours, over stored columns of tables only
    plan = make_plan(source.sqlite, caps, request["constants"])
    source.close()
    most = caps.share(len(plan.tables))
    variation = Variation(plan, limits, clock, request["seed"], most)
    for index, file in enumerate(files[1:]):
        write_all(file, variation.neighbour(index))


def answer(request: dict[str, Any], files: list[int], limits: Limits) -> dict[str, Any]:
    """`{}` when all files are complete, else `unfit` with a clause that says why."""
    clock = Clock()
    clock.start(request["deadline_s"])
    try:
        vary(request, files, limits, clock)
    except UnfitError as error:
        return {"unfit": str(error)}
    except UnicodeDecodeError:
        return {"unfit": "a name in its schema is not valid UTF-8"}
    except (apsw.Error, MemoryError, OSError) as error:
        return {"unfit": explain(error)}
    return {}


def explain(error: Exception) -> str:
    """SQLite's words, or the sandbox's own where those say more."""
    if isinstance(error, apsw.InterruptError):
        return "varying it ran past the deadline"
    try:
        message = classify(error).message if isinstance(error, MemoryError | apsw.NoMemError) else str(error)
    except UnusableDatabaseError as unusable:
        message = str(unusable)
    return message


if __name__ == "__main__":
    serve_once(answer, writes=True)
