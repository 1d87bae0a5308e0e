"""Gold health: every gold is run in the sandbox before anything is stored."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.cli.importing.questions import Question
from services.cli.importing.source import Source
from services.sandbox.execution import Execution
from services.sandbox.files import identify
from services.sandbox.judge import Judge
from services.sandbox.judge import Question as Asked
from services.sandbox.pool import SandboxPool
from shared.contracts.datasets import GoldFault, GoldHealth
from shared.contracts.records import Outcome, Policy

AT_ONCE = 128
MESSAGE_CHARS = 300
Progress = Callable[[int], None]


@dataclass
class Findings:
    """Golds by what became of them."""

    failed: list[GoldFault] = field(default_factory=list)
    timeouts: list[GoldFault] = field(default_factory=list)
    capped: list[GoldFault] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)

    def add(self, question: Question, ran: Execution) -> None:
        """One gold's run."""
        if ran.complete:
            if ran.row_count == 0:
                self.empty.append(question.index)
            return
        fault = GoldFault(
            index=question.index,
            database=question.db,
            place=question.place,
            outcome=ran.outcome,
            message=(ran.message or "")[:MESSAGE_CHARS],
        )
        kind = self.timeouts if ran.outcome is Outcome.TIMEOUT else self.capped if ran.capped else self.failed
        kind.append(fault)


def check_golds(source: Source, pool: SandboxPool, progress: Progress) -> GoldHealth:
    """Runs every gold as judging will, under the official policy and the workers' limits.

    Raises InvalidInputError naming the file for a database that cannot be read.
    """
    for name in sorted({question.db for question in source.questions}):
        identify(source.databases.files[name])
    found, judge = Findings(), Judge(pool, source.policy, keep_rows=0)
    for begin in range(0, len(source.questions), AT_ONCE):
        part = source.questions[begin : begin + AT_ONCE]
        asked = [Asked(source.databases.files[one.db], one.gold, ()) for one in part]
        for question, ran in zip(part, judge.run_golds(asked), strict=True):
            found.add(question, ran)
        progress(len(part))
    return as_health(source.policy, pool.limits.gold_deadline_s, source.questions, found)


def as_health(policy: Policy, deadline_s: float, questions: Sequence[Question], found: Findings) -> GoldHealth:
    """The findings as they are stored."""
    return GoldHealth(
        policy=policy,
        deadline_s=deadline_s,
        golds=len(questions),
        failed=found.failed,
        timeouts=found.timeouts,
        capped=found.capped,
        empty=found.empty,
        shared=shared_questions(questions),
    )


def shared_questions(questions: Sequence[Question]) -> list[list[int]]:
    """Groups of questions with one text on one database whose golds differ: a model can be right about one only."""
    groups: dict[tuple[str, str, str], list[Question]] = defaultdict(list)
    for one in questions:
        groups[one.db, " ".join(one.text.lower().split()), one.evidence or ""].append(one)
    return [[one.index for one in group] for group in groups.values() if len({one.gold for one in group}) > 1]
