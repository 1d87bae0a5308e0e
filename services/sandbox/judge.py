"""Judges candidates against their golds over a pool, many questions at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.sandbox.execution import Execution, Request
from services.sandbox.files import identify
from services.sandbox.golds import GoldMemory, gold_key
from services.sandbox.policies import Reading
from services.sandbox.pool import SandboxPool
from services.sandbox.verdicts import Judgement, comparable, verdict, with_unknown_columns
from shared.contracts.records import Policy

QUESTIONS = 256  # golds and candidates in flight at once: bounds memory


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
    """One policy over one pool; remembers how golds ran. Thread safe."""

    def __init__(
        self,
        pool: SandboxPool,
        reading: Reading | Policy = Policy.STRICT,
        *,
        golds: GoldMemory | None = None,
        keep_rows: int = 20,
    ) -> None:
        self.pool, self.limits, self.keep_rows = pool, pool.limits, keep_rows
        self.reading = Reading(reading) if isinstance(reading, Policy) else reading
        self.golds = golds if golds is not None else GoldMemory()

    def judge(self, database: Path, gold: str, sqls: Sequence[str | None], text: str = "") -> list[Judgement]:
        """One judgement a candidate, in order. Raises what `SandboxPool.execute` raises for the database."""
        return self.judge_many([Question(database, gold, tuple(sqls), text)])[0]

    def judge_many(self, questions: Sequence[Question]) -> list[list[Judgement]]:
        """The judgements of each question, in order."""
        found: list[list[Judgement]] = []
        for begin in range(0, len(questions), QUESTIONS):
            part = questions[begin : begin + QUESTIONS]
            found += self._judge_part(part, self.run_golds(part))
        return found

    def run_golds(self, questions: Sequence[Question]) -> list[Execution]:
        """How each gold runs, from memory where it ran before; golds have the longer budget."""
        texts = [self.reading.gold_text(question.gold) for question in questions]
        keys = [
            gold_key(content_of(question), text, self.reading, self.limits)
            for question, text in zip(questions, texts, strict=True)
        ]
        known = self.golds.find(keys)
        missing = {key: place for place, key in enumerate(keys) if key not in known}
        requests = [self._gold_request(questions[place].database, texts[place]) for place in missing.values()]
        fresh = dict(zip(missing, self.pool.execute_many(requests), strict=True))
        self.golds.remember(fresh)
        known |= fresh
        return [known[key] for key in keys]

    def _gold_request(self, database: Path, text: str) -> Request:
        rule = self.reading.rule(text)
        return Request(database, text, self.limits.gold_deadline_s, self.keep_rows, rule, leave_target=True)

    def _judge_part(self, questions: Sequence[Question], golds: Sequence[Execution]) -> list[list[Judgement]]:
        asked: list[Request] = []
        spans: list[tuple[int, int]] = []
        for question, gold in zip(questions, golds, strict=True):
            requests = self._candidate_requests(question, gold)
            spans.append((len(asked), len(asked) + len(requests)))
            asked += requests
        ran = self.pool.execute_many(asked)
        return [
            self._judgements(question, gold, ran[begin:end])
            for question, gold, (begin, end) in zip(questions, golds, spans, strict=True)
        ]

    def _candidate_requests(self, question: Question, gold: Execution) -> list[Request]:
        """One run a candidate that has a text; none where the gold left nothing to compare with."""
        if not comparable(gold):
            return []
        rule, target = self.reading.rule(self.reading.gold_text(question.gold)), gold.target()
        return [
            Request(question.database, self.reading.candidate_text(sql), None, self.keep_rows, rule, target=target)
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


def content_of(question: Question) -> str:
    """What stands for the database's content: its hash, or what the file system says of the file."""
    if question.content is not None:
        return question.content
    return f"{question.database.absolute()}:{':'.join(map(str, identify(question.database)))}"
