"""Gold health: every gold runs in the sandbox before a dataset is stored."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.benchmarks.importing.formats import ImportedQuestion
from services.benchmarks.importing.source import ImportSource
from services.sandbox.execution.database_files import check_database_file
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution
from services.sandbox.judging.judge import Judge, JudgeQuestion
from shared.contracts.datasets import GoldFault, GoldHealth
from shared.contracts.records import Outcome
from shared.errors import SenseError

AT_ONCE = 128
MESSAGE_CHARS = 300
Progress = Callable[[int], None]


@dataclass
class GoldFindings:
    """Golds by how they ended."""

    failed: list[GoldFault] = field(default_factory=list)
    timeouts: list[GoldFault] = field(default_factory=list)
    capped: list[GoldFault] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    clock: list[int] = field(default_factory=list)

    def add(self, question: ImportedQuestion, ran: Execution) -> None:
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
        if ran.outcome is Outcome.TIMEOUT:
            self.timeouts.append(fault)
        elif ran.capped or ran.sandbox_limited:
            self.capped.append(fault)
        else:
            self.failed.append(fault)


def check_golds(source: ImportSource, pool: SandboxPool, progress: Progress) -> GoldHealth:
    """Runs every gold as judging will, under the official policy and the workers' limits.

    Removes from `source`, where lenient, the questions on databases that cannot be read. Raises InvalidInputError with
    the name of the file otherwise, or where no question is left. `pool` has to be tolerant.
    """
    files = source.databases.files
    used = sorted({question.db for question in source.questions})
    source.leave_out({name: reason for name in used if (reason := why_unusable(files[name]))})
    runs: list[tuple[ImportedQuestion, Execution]] = []
    # Only outcomes and counts are needed here.
    judge = Judge(pool, source.policy, keep_rows=0)
    for begin in range(0, len(source.questions), AT_ONCE):
        part = source.questions[begin : begin + AT_ONCE]
        questions = [JudgeQuestion(files[one.db], one.gold, ()) for one in part]
        runs += zip(part, judge.run_golds(questions), strict=True)
        progress(len(part))
    damaged = {name: pool.damaged[files[name]] for name in used if files[name] in pool.damaged}
    kept = [ran for question, ran in runs if question.db not in damaged]
    # This renumbers the questions; the findings below use the new numbers.
    source.leave_out(damaged)
    found = GoldFindings()
    for question, ran in zip(source.questions, kept, strict=True):
        found.add(question, ran)
    return GoldHealth(
        policy=source.policy,
        deadline_s=pool.limits.gold_deadline_s,
        golds=len(source.questions),
        shared=shared_questions(source.questions),
        **vars(found),
    )


def why_unusable(path: Path) -> str | None:
    """What is wrong with a file, seen without opening it; None for a database."""
    try:
        check_database_file(path)
    except SenseError as error:
        return error.message
    return None


def shared_questions(questions: Sequence[ImportedQuestion]) -> list[list[int]]:
    """Groups of questions with the same text and different golds: a model can be right about only one of each."""
    groups: dict[tuple[str, str, str], list[ImportedQuestion]] = defaultdict(list)
    for one in questions:
        groups[one.db, " ".join(one.text.lower().split()), one.evidence or ""].append(one)
    return [[one.index for one in group] for group in groups.values() if len({one.gold for one in group}) > 1]
