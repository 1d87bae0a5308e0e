"""Judges candidates against their golds over a pool, many questions at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.sandbox.execution import Execution, Request
from services.sandbox.golds import GoldMemory, gold_key
from services.sandbox.policies import Reading
from services.sandbox.pool import SandboxPool
from services.sandbox.verdicts import Judgement, comparable, verdict, with_unknown_columns
from shared.contracts.records import Outcome, Policy

QUESTIONS = 256  # golds and candidates in flight at once: bounds memory
ROWLESS_QUESTIONS = 2048  # of results that keep no rows


@dataclass(frozen=True)
class Question:
    """A gold and its candidates on one database. `text` is what was asked, with its evidence; it may be left out.

    `content` names the database's content where its file does not change under that name (its SHA-256).
    """

    database: Path
    gold: str
    candidates: tuple[str | None, ...]
    text: str = ""
    content: str | None = None


class Judge:
    """One policy over one pool; remembers how golds ran. Thread safe.

    `keep_rows` rows of each result are kept for people, with `only_wrong` not those of right candidates.
    """

    def __init__(
        self,
        pool: SandboxPool,
        reading: Reading | Policy = Policy.STRICT,
        *,
        golds: GoldMemory | None = None,
        keep_rows: int = 20,
        only_wrong: bool = False,
    ) -> None:
        self.pool, self.limits, self.keep_rows, self.only_wrong = pool, pool.limits, keep_rows, only_wrong
        self.reading = Reading(reading) if isinstance(reading, Policy) else reading
        self.golds = golds if golds is not None else GoldMemory()

    def judge(self, database: Path, gold: str, sqls: Sequence[str | None], text: str = "") -> list[Judgement]:
        """One judgement a candidate, in order. Raises what `SandboxPool.execute` raises for the database."""
        return self.judge_many([Question(database, gold, tuple(sqls), text)])[0]

    def judge_many(self, questions: Sequence[Question]) -> list[list[Judgement]]:
        """The judgements of each question, in order."""
        found: list[list[Judgement]] = []
        at_once = QUESTIONS if self.keep_rows else ROWLESS_QUESTIONS
        for begin in range(0, len(questions), at_once):
            part = questions[begin : begin + at_once]
            now = now_ms()
            together = self._judge_together(part, now)
            rest = [place for place in range(len(part)) if place not in together]
            apart = [part[place] for place in rest]
            together |= dict(zip(rest, self._judge_part(apart, self.run_golds(apart, now=now), now), strict=True))
            found += [together[place] for place in range(len(part))]
        return found

    def _judge_together(self, questions: Sequence[Question], now: int) -> dict[int, list[Judgement]]:
        """By place: questions with one candidate and a gold that has not run yet, both run by one child.

        Where a child was killed over one it cannot be told over which of the two; such a question is left to be asked
        in two steps.
        """
        keys = self._keys(questions, with_marks=False)
        known = self.golds.find(keys)
        places = [
            place
            for place, question in enumerate(questions)
            if len(question.candidates) == 1 and question.candidates[0] is not None and keys[place] not in known
        ]
        ran = self.pool.execute_many([self._request_together(questions[place], now) for place in places])
        golds = {keys[place]: execution.gold for place, execution in zip(places, ran, strict=True) if execution.gold}
        self.golds.remember(golds)
        found: dict[int, list[Judgement]] = {}
        for place, execution in zip(places, ran, strict=True):
            if execution.gold is not None:
                own = [] if execution.outcome is Outcome.NOT_RUN else [replace(execution, gold=None)]
                found[place] = self._judgements(questions[place], execution.gold, own)
        return found

    def _request_together(self, question: Question, now: int) -> Request:
        gold = self.reading.gold_text(question.gold)
        return Request(
            question.database,
            self.reading.candidate_text(question.candidates[0] or ""),
            None,
            self.keep_rows,
            self.reading.rule(gold),
            only_wrong=self.only_wrong,
            gold=gold,
            gold_deadline_s=self.limits.gold_deadline_s,
            now_ms=now,
        )

    def _keys(self, questions: Sequence[Question], *, with_marks: bool) -> list[str]:
        files = {question.database: question for question in questions if question.content is None}
        contents = {database: self._content(question) for database, question in files.items()}
        return [
            gold_key(
                question.content or contents[question.database],
                self.reading.gold_text(question.gold),
                self.reading,
                self.limits,
                self.keep_rows,
                with_marks,
            )
            for question in questions
        ]

    def run_golds(
        self, questions: Sequence[Question], *, with_marks: bool = False, now: int | None = None
    ) -> list[Execution]:
        """How each gold runs, from memory where it ran before; golds have the longer budget.

        `now` is the moment for those that ask: a gold and its candidates are told the same one.
        """
        texts = [self.reading.gold_text(question.gold) for question in questions]
        keys = self._keys(questions, with_marks=with_marks)
        known = self.golds.find(keys)
        missing = {key: place for place, key in enumerate(keys) if key not in known}
        requests = [
            self._gold_request(questions[place].database, texts[place], with_marks, now) for place in missing.values()
        ]
        fresh = dict(zip(missing, self.pool.execute_many(requests), strict=True))
        self.golds.remember(fresh)
        known |= fresh
        return [known[key] for key in keys]

    def _gold_request(self, database: Path, text: str, with_marks: bool, now: int | None) -> Request:
        return Request(
            database,
            text,
            self.limits.gold_deadline_s,
            self.keep_rows,
            self.reading.rule(text),
            leave_target=True,
            with_marks=with_marks,
            now_ms=now,
        )

    def _judge_part(self, questions: Sequence[Question], golds: Sequence[Execution], now: int) -> list[list[Judgement]]:
        asked: list[Request] = []
        of: list[int] = []
        for place, (question, gold) in enumerate(zip(questions, golds, strict=True)):
            requests = self._candidate_requests(question, gold, now)
            asked += requests
            of += [place] * len(requests)
        ran = self.pool.execute_many(asked)
        self._try_columns(questions, asked, of, ran, now)
        runs: list[list[Execution]] = [[] for _ in questions]
        for place, execution in zip(of, ran, strict=True):
            runs[place].append(execution)
        return [
            self._judgements(question, gold, found)
            for question, gold, found in zip(questions, golds, runs, strict=True)
        ]

    def _try_columns(
        self,
        questions: Sequence[Question],
        asked: Sequence[Request],
        of: Sequence[int],
        ran: list[Execution],
        now: int,
    ) -> None:
        """Runs again, against golds with marks, what may agree with its columns in another order."""
        again = [number for number, execution in enumerate(ran) if execution.wants_marks]
        places = list(dict.fromkeys(of[number] for number in again))
        marked = self.run_golds([questions[place] for place in places], with_marks=True, now=now)
        golds = dict(zip(places, marked, strict=True))
        requests = [replace(asked[number], target=golds[of[number]].target()) for number in again]
        for number, execution in zip(again, self.pool.execute_many(requests), strict=True):
            ran[number] = execution

    def _candidate_requests(self, question: Question, gold: Execution, now: int) -> list[Request]:
        """One run a candidate that has a text; none where the gold left nothing to compare with."""
        if not comparable(gold):
            return []
        rule, target = self.reading.rule(self.reading.gold_text(question.gold)), gold.target()
        return [
            Request(
                question.database,
                self.reading.candidate_text(sql),
                None,
                self.keep_rows,
                rule,
                target=target,
                only_wrong=self.only_wrong,
                now_ms=now,
            )
            for sql in question.candidates
            if sql is not None
        ]

    def _judgements(self, question: Question, gold: Execution, ran: Sequence[Execution]) -> list[Judgement]:
        runs = iter(ran)
        found = []
        for sql in question.candidates:
            execution = next(runs, None) if sql is not None else None
            if execution is not None and question.text and self.reading.policy is Policy.STRICT:
                execution = with_unknown_columns(execution, f"{question.text}\n{question.gold}")
            found.append(Judgement(sql, verdict(sql, execution, gold), self.reading.policy, execution, gold))
        return found

    def _content(self, question: Question) -> str:
        """What stands for the content of a file that may change: what the file system says of it."""
        return f"{question.database.absolute()}:{self.pool.files.identity(question.database)}"


def now_ms() -> int:
    """The moment that golds and their candidates are told, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
