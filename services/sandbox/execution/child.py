"""The child that runs queries, one request at a time over stdin and stdout.

Start: `python -m services.sandbox.execution.child LIMITS_JSON PROGRESS_FD FILES_FD`. A request holds many statements
for one database. Answers leave at most `FLUSH_S` after the first of them began, several in a frame when statements are
quick: waking the parent for each would cost more than most queries. The child ends when its stdin ends. It imports
neither pydantic nor anything of the cluster, so it starts quickly.
"""

import gc
import os
import time
from collections import OrderedDict
from typing import Any

import apsw

from services.sandbox.execution.child_loop import start_child
from services.sandbox.execution.connection import DeadlineClock, ReadConnection
from services.sandbox.execution.limits import FLUSH_S, Limits
from services.sandbox.execution.outcomes import UnusableDatabaseError, classify_error
from services.sandbox.execution.protocol import FileReceiver, Progress, given_path, pack, read_message, write_all
from services.sandbox.execution.query import GoldComparer, Query, compile_program
from services.sandbox.execution.walls import allow_cpu
from services.sandbox.intake.describe import describe

STDIN, STDOUT = 0, 1
COLLECT_EVERY = 500  # statements
CPU_STEP_S = 3.0  # the kernel's limit on CPU time moves in such steps, not with every statement


class OpenDatabase:
    """A database file from the parent; its connection opens with the first query."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.connection: ReadConnection | None = None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        os.close(self.file)


class QueryServer:
    """Keeps the most recently used databases open and answers requests."""

    def __init__(self, limits: Limits, receiver: FileReceiver) -> None:
        self.limits, self.receiver = limits, receiver
        self.clock = DeadlineClock()
        self.cpu_end = 0.0
        self.golds = GoldComparer(self.clock, limits)
        self.opened = 0
        self.databases: OrderedDict[tuple[Any, ...], OpenDatabase] = OrderedDict()

    def database(self, request: dict[str, Any]) -> OpenDatabase:
        """The file with this path and identity. The parent keeps the same list and sends what is missing."""
        key = (request["database"], *request["identity"])
        for file in self.receiver.take(request["file_count"]):
            self.databases[key] = OpenDatabase(file)
        # mirrors `ChildProcess.send`: newest last, the oldest dropped
        self.databases.move_to_end(key)
        while len(self.databases) > self.limits.open_databases:
            self.databases.popitem(last=False)[1].close()
        return self.databases[key]

    def connection(self, database: OpenDatabase) -> ReadConnection:
        if database.connection is None:
            self.opened += 1
            path, size = given_path(database.file), os.fstat(database.file).st_size
            database.connection = ReadConnection(path, self.limits, self.clock, self.opened, size=size)
        return database.connection

    def serve(self, request: dict[str, Any], progress: Progress) -> None:
        """Send one reply per statement, several to a frame; all are `unusable` when the file is not a database."""
        replies: list[dict[str, Any]] = []
        began = time.monotonic()
        database = self.database(request)
        for number, statement in enumerate(request["statements"]):
            progress.set(number)
            replies.append(self.answer(request, database, statement))
            if (now := time.monotonic()) - began > FLUSH_S:
                write_all(STDOUT, pack(replies))
                replies, began = [], now
        if replies:
            write_all(STDOUT, pack(replies))

    def answer(self, request: dict[str, Any], database: OpenDatabase, statement: dict[str, Any]) -> dict[str, Any]:
        seconds = statement["deadline_s"] + self.limits.grace_s
        self.clock.start(statement["deadline_s"])
        # keep the kernel's limit a little above what this statement may use
        end = time.process_time() + seconds
        if not self.cpu_end - CPU_STEP_S <= end <= self.cpu_end:
            allow_cpu(seconds + CPU_STEP_S)
            self.cpu_end = end + CPU_STEP_S
        try:
            return self.perform(request, database, statement)
        except UnusableDatabaseError as error:
            return {"unusable": str(error)}

    def perform(self, request: dict[str, Any], database: OpenDatabase, statement: dict[str, Any]) -> dict[str, Any]:
        try:
            connection = self.connection(database)
        except (apsw.Error, MemoryError, UnicodeDecodeError) as error:
            failure = classify_error(error)
            if failure.outcome == "timeout":
                return {"outcome": "timeout", "message": "opening the database ran past the deadline"}
            raise UnusableDatabaseError(failure.message) from error
        if request["op"] == "describe":
            return describe(connection, statement["sample_rows"], self.limits)
        if statement.get("program"):
            return compile_program(connection, statement["sql"])
        if "gold" in statement:
            return self.golds.answer(connection, statement)
        return Query(connection, self.clock, self.limits, statement).run()


def main() -> None:
    limits, receiver, progress = start_child(writes=False)
    server = QueryServer(limits, receiver)
    served = 0
    # what is loaded now lives as long as the process: later collections skip it
    gc.freeze()
    gc.disable()  # results are many small tuples: searching them for cycles would cost more than the queries
    while (request := read_message(STDIN)) is not None:
        server.serve(request, progress)
        served += len(request["statements"])
        if served >= COLLECT_EVERY:
            gc.collect()
            served = 0
    os._exit(0)


if __name__ == "__main__":
    main()
