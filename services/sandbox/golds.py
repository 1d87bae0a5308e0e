"""How golds ran, remembered by content: a gold is run once for a database, whoever asks and however often.

In memory for this process, and in a small SQLite file for all workers of a machine. The file is a cache: it may be
deleted at any time.
"""

import hashlib
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from services.sandbox.execution import Execution
from services.sandbox.limits import Limits
from services.sandbox.policies import Reading
from shared.contracts.records import Outcome

KEPT_IN_MEMORY = 4096
KEPT_IN_FILE = 200_000
BUSY_S = 5.0
KEPT_FORM = 2  # goes up when what earlier processes kept in the file must not be read any more
# what these say depends on the machine and the moment: no other process is told, and a kill is asked again at once
PASSING = frozenset({Outcome.TIMEOUT, Outcome.KILLED, Outcome.MEMORY_LIMIT})


def gold_key(database: str, sql: str, reading: Reading, limits: Limits, keep_rows: int, marks: bool) -> str:
    """What decides a gold's run: content, text as run, policy and version, caps, and what is kept of it. Hex."""
    caps = [limits.max_rows, limits.max_bytes, limits.max_cell_chars, limits.value_bytes, keep_rows, marks]
    parts = [KEPT_FORM, database, sql, reading.policy, reading.version, reading.any_column_order, caps]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


class GoldMemory:
    """Runs of golds by key. Thread safe; without a `file` it is this process's alone."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._known: OrderedDict[str, Execution] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, keys: Sequence[str]) -> dict[str, Execution]:
        """What is known of these keys."""
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
        missing = [key for key in keys if key not in found]
        if missing and self.file is not None:
            found |= self._read(missing)
        return found

    def remember(self, runs: dict[str, Execution]) -> None:
        """Keep what would be the same another time: no run that asked for the time."""
        runs = {key: run for key, run in runs.items() if not run.clock}
        self._keep({key: run for key, run in runs.items() if run.outcome is not Outcome.KILLED})
        lasting = {key: run for key, run in runs.items() if run.outcome not in PASSING}
        if lasting and self.file is not None:
            self._write(lasting)

    def _keep(self, runs: dict[str, Execution]) -> None:
        with self._lock:
            self._known.update(runs)
            while len(self._known) > KEPT_IN_MEMORY:
                self._known.popitem(last=False)

    def _open(self) -> sqlite3.Connection:
        assert self.file is not None
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=BUSY_S, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS gold(key TEXT PRIMARY KEY, run TEXT NOT NULL) WITHOUT ROWID")
        return connection

    def _read(self, keys: Sequence[str]) -> dict[str, Execution]:
        """From the file; one that cannot be read knows nothing."""
        try:
            with closing(self._open()) as connection:
                sql = "SELECT key, run FROM gold WHERE key IN (SELECT value FROM json_each(?))"
                rows = connection.execute(sql, [json.dumps(keys)]).fetchall()
            found = {key: Execution.from_reply(json.loads(run)) for key, run in rows}
        except (sqlite3.Error, OSError, ValueError, TypeError):
            return {}
        self._keep(found)
        return found

    def _write(self, runs: dict[str, Execution]) -> None:
        """Into the file, emptied when it grows too long; a full disk or a lock is no failure of a judgement."""
        rows = [(key, json.dumps(asdict(run))) for key, run in runs.items()]
        try:
            with closing(self._open()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO gold VALUES (?, ?)", rows)
                (count,) = connection.execute("SELECT count(*) FROM gold").fetchone()
                if count > KEPT_IN_FILE:
                    connection.execute("DELETE FROM gold")
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError):
            return
