"""The killable child: `python -m services.sandbox.child LIMITS_JSON`, one request at a time over stdin and stdout.

A request holds many statements for one database; each is answered as soon as it has run, so that the parent knows at
which one a child died. It ends when its stdin ends. It imports neither pydantic nor anything of the cluster, so that a
respawn stays cheap.
"""

import gc
import os
import sys
from collections import OrderedDict
from typing import Any

import apsw

from services.sandbox.connection import Clock, ReadConnection
from services.sandbox.describe import describe
from services.sandbox.frames import STARTED, pack, read_message, write_all
from services.sandbox.limits import Limits
from services.sandbox.outcomes import UnusableDatabaseError, classify
from services.sandbox.query import Query
from services.sandbox.rlimits import allow_cpu, wall_in, watch_parent

STDIN, STDOUT = 0, 1


class Server:
    """Keeps the last few databases open and answers requests."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.clock = Clock()
        self.open: OrderedDict[tuple[Any, ...], ReadConnection] = OrderedDict()

    def connection(self, request: dict[str, Any]) -> ReadConnection:
        """The open connection for this very file (path and identity), most recent last."""
        key = (request["database"], *request["identity"])
        if key not in self.open:
            while len(self.open) >= self.limits.open_databases:
                self.open.popitem(last=False)[1].close()
            self.open[key] = ReadConnection(request["database"], self.limits, self.clock)
        self.open.move_to_end(key)
        return self.open[key]

    def serve(self, request: dict[str, Any]) -> None:
        """One reply a statement; a file that is no database gives `unusable` for each."""
        for statement in request["statements"]:
            write_all(STDOUT, pack(self.answer(request, statement)))

    def answer(self, request: dict[str, Any], statement: dict[str, Any]) -> dict[str, Any]:
        """One statement within its deadline."""
        self.clock.start(statement["deadline_s"])
        allow_cpu(statement["deadline_s"] + self.limits.grace_s)
        try:
            return self.perform(request, statement)
        except UnusableDatabaseError as error:
            return {"unusable": str(error)}

    def perform(self, request: dict[str, Any], statement: dict[str, Any]) -> dict[str, Any]:
        """A query, or the description of a database."""
        try:
            connection = self.connection(request)
        except (apsw.Error, MemoryError, UnicodeDecodeError) as error:
            failure = classify(error)
            if failure.outcome == "timeout":
                return {"outcome": "timeout", "message": "opening the database ran past the deadline"}
            raise UnusableDatabaseError(failure.message) from error
        if request["op"] == "describe":
            return describe(connection, statement["sample_rows"], self.limits)
        return Query(connection, self.clock, self.limits, statement).run()


def main() -> None:
    """Wall in, then serve until the parent is gone."""
    limits = Limits.from_json(sys.argv[1])
    wall_in(limits)
    apsw.hard_heap_limit(limits.heap_bytes)
    watch_parent(STDIN)
    server = Server(limits)
    gc.freeze()
    gc.disable()  # results are many small tuples: looking through them for cycles would cost more than the queries
    while (request := read_message(STDIN)) is not None:
        write_all(STDOUT, STARTED)
        server.serve(request)
        gc.collect()
    os._exit(0)


if __name__ == "__main__":
    main()
