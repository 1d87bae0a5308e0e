"""Judges candidates against their golds over a pool, many questions at a time, and caches how golds ran."""

import hashlib
import json
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution, ExecutionRequest
from services.sandbox.judging.policies import ConfiguredPolicy
from services.sandbox.judging.verdicts import Judgement, decide_verdict, mark_unknown_columns
from shared.contracts.records import Outcome, Policy

KEPT_IN_MEMORY = 4096
# Rows; the file is emptied when it has more.
KEPT_IN_FILE = 200_000
# All workers of a machine share the file, so a writer may have to wait.
BUSY_S = 5.0
CACHE_VERSION = 2  # goes up when what earlier processes stored must not be read
# They depend on the machine and the moment: no other process learns them, and a kill is tried again at once.
TRANSIENT = frozenset({Outcome.TIMEOUT, Outcome.KILLED, Outcome.MEMORY_LIMIT})


def gold_key(database: str, sql: str, policy: ConfiguredPolicy, limits: Limits, keep_rows: int, marks: bool) -> str:
    caps = [limits.max_rows, limits.max_bytes, limits.max_cell_chars, limits.value_bytes, keep_rows, marks]
    parts = [CACHE_VERSION, database, sql, policy.name, policy.version, policy.any_column_order, caps]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


class GoldCache:
    """How golds ran, by key: a gold runs once per database, however often it is needed. Thread-safe.

    In memory for this process and, with `file`, in a small SQLite file for all workers of a machine, which may be
    deleted at any time.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._known: OrderedDict[str, Execution] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, keys: Sequence[str]) -> dict[str, Execution]:
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
        missing = [key for key in keys if key not in found]
        if missing and self.file is not None:
            found |= self._read(missing)
        return found

    def remember(self, runs: dict[str, Execution]) -> None:
        # another time they would give another result
        runs = {key: run for key, run in runs.items() if not run.clock}
        self._keep({key: run for key, run in runs.items() if run.outcome is not Outcome.KILLED})
        lasting = {key: run for key, run in runs.items() if run.outcome not in TRANSIENT}
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
        # it is only a cache: what a crash loses runs again
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS gold(key TEXT PRIMARY KEY, run TEXT NOT NULL) WITHOUT ROWID")
        return connection

    def _read(self, keys: Sequence[str]) -> dict[str, Execution]:
        try:
            with closing(self._open()) as connection:
                sql = "SELECT key, run FROM gold WHERE key IN (SELECT value FROM json_each(?))"
                rows = connection.execute(sql, [json.dumps(keys)]).fetchall()
            found = {key: Execution.from_reply(json.loads(run)) for key, run in rows}
        # a file that cannot be read is a cache without entries
        except (sqlite3.Error, OSError, ValueError, TypeError):
            return {}
        self._keep(found)
        return found

    def _write(self, runs: dict[str, Execution]) -> None:
        """Empties the file when it grows too long; a full disk or a lock never fails a judgement."""
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


QUESTIONS = 256  # golds and candidates in flight at once: bounds memory
ROWLESS_QUESTIONS = 2048  # of results that keep no rows


@dataclass(frozen=True)
class JudgeQuestion:
    """A gold and its candidates on one database. `text` is the question with its evidence, if known.

    `content` identifies the database's content (its SHA-256) when the file never changes under its name.
    """

    database: Path
    gold: str
    candidates: tuple[str | None, ...]
    text: str = ""
    content: str | None = None


class Judge:
    """Applies one policy over one pool. Thread-safe.

    `keep_rows` rows of each result are kept for people; `only_wrong` drops those of right candidates.
    """

    def __init__(
        self,
        pool: SandboxPool,
        policy: ConfiguredPolicy | Policy = Policy.STRICT,
        *,
        golds: GoldCache | None = None,
        keep_rows: int = 20,
        only_wrong: bool = False,
    ) -> None:
        self.pool, self.limits, self.keep_rows, self.only_wrong = pool, pool.limits, keep_rows, only_wrong
        self.policy = ConfiguredPolicy(policy) if isinstance(policy, Policy) else policy
        self.golds = golds if golds is not None else GoldCache()

    def judge(self, database: Path, gold: str, sqls: Sequence[str | None], text: str = "") -> list[Judgement]:
        return self.judge_many([JudgeQuestion(database, gold, tuple(sqls), text)])[0]

    def judge_many(self, questions: Sequence[JudgeQuestion]) -> list[list[Judgement]]:
        found: list[list[Judgement]] = []
        at_once = QUESTIONS if self.keep_rows else ROWLESS_QUESTIONS
        for begin in range(0, len(questions), at_once):
            part = questions[begin : begin + at_once]
            now = now_ms()
            judged = self._judge_with_golds(part, now)
            rest = [place for place in range(len(part)) if place not in judged]
            apart = [part[place] for place in rest]
            judged |= dict(zip(rest, self._judge_part(apart, self.run_golds(apart, now=now), now), strict=True))
            found += [judged[place] for place in range(len(part))]
        return found

    def _judge_with_golds(self, questions: Sequence[JudgeQuestion], now: int) -> dict[int, list[Judgement]]:
        """Judge questions with one candidate and a gold that has not run, in one message each; results by place.

        When the child is killed, it is unknown which of the two was at fault: such a question is left for the two-step
        way.
        """
        keys = self._keys(questions, with_marks=False)
        known = self.golds.find(keys)
        places = [
            place
            for place, question in enumerate(questions)
            if len(question.candidates) == 1 and question.candidates[0] is not None and keys[place] not in known
        ]
        requests = []
        for question in (questions[place] for place in places):
            gold, sql = self.policy.gold_text(question.gold), self.policy.candidate_text(question.candidates[0] or "")
            with_gold = {"gold": gold, "gold_deadline_s": self.limits.gold_deadline_s, "only_wrong": self.only_wrong}
            requests.append(self._request(question, sql, gold, now, **with_gold))
        ran = self.pool.execute_many(requests)
        golds = {keys[place]: execution.gold for place, execution in zip(places, ran, strict=True) if execution.gold}
        self.golds.remember(golds)
        found: dict[int, list[Judgement]] = {}
        for place, execution in zip(places, ran, strict=True):
            if execution.gold is not None:
                own = [] if execution.outcome is Outcome.NOT_RUN else [replace(execution, gold=None)]
                found[place] = self._judgements(questions[place], execution.gold, own)
        return found

    def _request(
        self, question: JudgeQuestion, sql: str, gold_text: str, now: int | None, **more: Any
    ) -> ExecutionRequest:
        rule = self.policy.rule(gold_text)
        return ExecutionRequest(question.database, sql, keep_rows=self.keep_rows, rule=rule, now_ms=now, **more)

    def _keys(self, questions: Sequence[JudgeQuestion], *, with_marks: bool) -> list[str]:
        # the identity of a file stands for its content when the file may change
        contents = {
            question.database: f"{question.database.absolute()}:{self.pool.files.identity(question.database)}"
            for question in questions
            if question.content is None
        }
        return [
            gold_key(
                question.content or contents[question.database],
                self.policy.gold_text(question.gold),
                self.policy,
                self.limits,
                self.keep_rows,
                with_marks,
            )
            for question in questions
        ]

    def run_golds(
        self, questions: Sequence[JudgeQuestion], *, with_marks: bool = False, now: int | None = None
    ) -> list[Execution]:
        """How each gold runs, from the cache if it ran before; golds have the longer deadline.

        `now` is the time that date functions see: a gold and its candidates see the same.
        """
        texts = [self.policy.gold_text(question.gold) for question in questions]
        keys = self._keys(questions, with_marks=with_marks)
        known = self.golds.find(keys)
        # equal golds share a key, so each runs once
        missing = {key: place for place, key in enumerate(keys) if key not in known}
        more = {"deadline_s": self.limits.gold_deadline_s, "leave_target": True, "with_marks": with_marks}
        requests = [
            self._request(questions[place], texts[place], texts[place], now, **more) for place in missing.values()
        ]
        fresh = dict(zip(missing, self.pool.execute_many(requests), strict=True))
        self.golds.remember(fresh)
        known |= fresh
        return [known[key] for key in keys]

    def _judge_part(
        self, questions: Sequence[JudgeQuestion], golds: Sequence[Execution], now: int
    ) -> list[list[Judgement]]:
        requests: list[ExecutionRequest] = []
        of: list[int] = []
        for place, (question, gold) in enumerate(zip(questions, golds, strict=True)):
            some = self._candidate_requests(question, gold, now)
            requests += some
            of += [place] * len(some)
        ran = self.pool.execute_many(requests)
        # run again, against golds with marks, what may agree with its columns in another order
        again = [number for number, execution in enumerate(ran) if execution.wants_marks]
        places = list(dict.fromkeys(of[number] for number in again))
        marked = self.run_golds([questions[place] for place in places], with_marks=True, now=now)
        targets = {place: gold.target() for place, gold in zip(places, marked, strict=True)}
        retries = [replace(requests[number], target=targets[of[number]]) for number in again]
        for number, execution in zip(again, self.pool.execute_many(retries), strict=True):
            ran[number] = execution
        runs: list[list[Execution]] = [[] for _ in questions]
        for place, execution in zip(of, ran, strict=True):
            runs[place].append(execution)
        return [
            self._judgements(question, gold, found)
            for question, gold, found in zip(questions, golds, runs, strict=True)
        ]

    def _candidate_requests(self, question: JudgeQuestion, gold: Execution, now: int) -> list[ExecutionRequest]:
        if not gold.complete:
            return []
        text, compare = self.policy.gold_text(question.gold), {"target": gold.target(), "only_wrong": self.only_wrong}
        sqls = [self.policy.candidate_text(sql) for sql in question.candidates if sql is not None]
        return [self._request(question, sql, text, now, **compare) for sql in sqls]

    def _judgements(self, question: JudgeQuestion, gold: Execution, ran: Sequence[Execution]) -> list[Judgement]:
        runs = iter(ran)
        found = []
        for sql in question.candidates:
            execution = next(runs, None) if sql is not None else None
            if execution is not None and question.text and self.policy.name is Policy.STRICT:
                execution = mark_unknown_columns(execution, f"{question.text}\n{question.gold}")
            found.append(Judgement(sql, decide_verdict(sql, execution, gold), self.policy.name, execution, gold))
        return found


def now_ms() -> int:
    return time.time_ns() // 1_000_000
