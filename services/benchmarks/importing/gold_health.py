"""Gold health: every gold is run in the sandbox before anything is stored."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.benchmarks.importing.formats import ImportedQuestion
from services.benchmarks.importing.source import ImportSource
from services.sandbox.execution.database_files import check_database_file
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution
from services.sandbox.judging.judge import Judge
from services.sandbox.judging.judge import JudgeQuestion as Asked
from shared.contracts.datasets import GoldFault, GoldHealth
from shared.contracts.records import Outcome, Policy
from shared.errors import SenseError

AT_ONCE = 128
MESSAGE_CHARS = 300
Progress = Callable[[int], None]


@dataclass
class GoldFindings:
    """Golds by what became of them."""

    failed: list[GoldFault] = field(default_factory=list)
    timeouts: list[GoldFault] = field(default_factory=list)
    capped: list[GoldFault] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    clock: list[int] = field(default_factory=list)

    def add(self, question: ImportedQuestion, ran: Execution) -> None:
        """One gold's run."""
        if ran.clock:
            self.clock.append(question.index)
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
        kind = (
            self.timeouts
            if ran.outcome is Outcome.TIMEOUT
            else self.capped
            if ran.capped or ran.sandbox_limited
            else self.failed
        )
        kind.append(fault)


def check_golds(source: ImportSource, pool: SandboxPool, progress: Progress) -> GoldHealth:
    """Runs every gold as judging will, under the official policy and the workers' limits.

    Where lenient, questions on databases that cannot be read leave `source`. Raises InvalidInputError naming the file
    where they may not, or where they are all; `pool` has to be tolerant.
    """
    files = source.databases.files
    used = sorted({question.db for question in source.questions})
    source.leave_out({name: said for name in used if (said := why_unusable(files[name]))})
    runs: list[tuple[ImportedQuestion, Execution]] = []
    judge = Judge(pool, source.policy, keep_rows=0)
    for begin in range(0, len(source.questions), AT_ONCE):
        part = source.questions[begin : begin + AT_ONCE]
        asked = [Asked(files[one.db], one.gold, ()) for one in part]
        runs += zip(part, judge.run_golds(asked), strict=True)
        progress(len(part))
    damaged = {name: pool.damaged[files[name]] for name in used if files[name] in pool.damaged}
    kept = [ran for question, ran in runs if question.db not in damaged]
    source.leave_out(damaged)
    found = GoldFindings()
    for question, ran in zip(source.questions, kept, strict=True):
        found.add(question, ran)
    return as_health(source.policy, pool.limits.gold_deadline_s, source.questions, found)


def why_unusable(path: Path) -> str | None:
    """What is wrong with a file before it is opened."""
    try:
        check_database_file(path)
    except SenseError as error:
        return error.message
    return None


def as_health(
    policy: Policy, deadline_s: float, questions: Sequence[ImportedQuestion], found: GoldFindings
) -> GoldHealth:
    """The findings as they are stored."""
    return GoldHealth(
        policy=policy,
        deadline_s=deadline_s,
        golds=len(questions),
        failed=found.failed,
        timeouts=found.timeouts,
        capped=found.capped,
        empty=found.empty,
        clock=found.clock,
        shared=shared_questions(questions),
    )


def shared_questions(questions: Sequence[ImportedQuestion]) -> list[list[int]]:
    """Groups of questions with one text on one database whose golds differ: a model can be right about one only."""
    groups: dict[tuple[str, str, str], list[ImportedQuestion]] = defaultdict(list)
    for one in questions:
        groups[one.db, " ".join(one.text.lower().split()), one.evidence or ""].append(one)
    return [[one.index for one in group] for group in groups.values() if len({one.gold for one in group}) > 1]
