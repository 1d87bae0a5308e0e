"""The programs of judged candidates, for those who must not tell two writings of one query apart."""

from collections.abc import Sequence
from pathlib import Path

from services.sandbox.execution import Request
from services.sandbox.judge import Question
from services.sandbox.pool import SandboxPool
from services.sandbox.verdicts import Judgement
from shared.contracts.records import Verdict

COMPILED = frozenset({Verdict.CORRECT, Verdict.WRONG, Verdict.TIMEOUT})
Programs = dict[tuple[Path, str], str | None]


def find_programs(pool: SandboxPool, questions: Sequence[Question], judged: Sequence[Sequence[Judgement]]) -> Programs:
    """The program's hash by database and SQL, of candidates that compiled and may take part in a pair."""
    asked = {
        (question.database, judgement.sql): None
        for question, judgements in zip(questions, judged, strict=True)
        for judgement in judgements
        if judgement.sql is not None and judgement.verdict in COMPILED
    }
    keys = list(asked)
    ran = pool.execute_many([Request(database, sql, keep_rows=0, program=True) for database, sql in keys])
    return {key: execution.program for key, execution in zip(keys, ran, strict=True)}
