"""The gates of verification: the gold runs, returns rows, parses, agrees with its question, varies with the data.

A gold that passes is measured by Spider's hardness. A gold is constant if its result was the same, under the strict
policy, on all test-suite databases on which it ran to the end, at least MIN_RUNS of them. One that reads no table is
constant anyway.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.building.databases import local_database
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution, ExecutionRequest
from services.sandbox.judging.policies import ConfiguredPolicy
from services.sandbox.judging.suite_review import DatabaseSuite
from services.sandbox.test_suites.generate import prepare_suites
from shared.catalog.databases import CardCache
from shared.catalog.datasets import example_id
from shared.contracts.records import Example, Outcome, RejectedExample, WrittenExample
from shared.contracts.sandbox import VerifyExamples
from shared.errors import NotFoundError
from shared.metrics import OUTCOMES
from shared.sql.agreement import find_disagreement
from shared.sql.parser import find_syntax_error, parse_one_sql
from shared.sql.spider.hardness import card_hardness
from shared.storage.store import ObjectStore

# On fewer databases an equal result may be chance.
MIN_RUNS = 3
UNREADABLE, DISAGREES, CONSTANT = "gold_unreadable", "question_sql_disagree", "gold_constant"
# Writers whose questions must agree with their SQL.
GENERATED_BY = ("grammar", "llm")


def reads_no_table(sql: str) -> bool:
    """Whether a SQL that sqlglot parses names no table; False in doubt."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        return parse_one_sql(sql).find(exp.Table) is None
    except SqlglotError:
        return False


def find_constant_golds(
    pool: SandboxPool, golds: Sequence[tuple[Path, str, Execution]], suites: Mapping[Path, DatabaseSuite]
) -> list[int]:
    """For each (database, gold, its run): on how many suite databases it was the same; 0 if it is not constant."""
    requests: list[ExecutionRequest] = []
    of: list[int] = []
    for place, (database, gold, _) in enumerate(golds):
        for file in suites[database].files if database in suites else ():
            requests.append(gold_request(file, gold, keep_rows=0))
            of.append(place)
    answered: list[list[Execution]] = [[] for _ in golds]
    for place, ran in zip(of, pool.execute_many(requests), strict=True):
        if ran.complete:
            answered[place].append(ran)
    return [
        len(runs)
        if own.fingerprint is not None
        and len(runs) >= MIN_RUNS
        and all((run.fingerprint, run.row_count) == (own.fingerprint, own.row_count) for run in runs)
        else 0
        for (_, _, own), runs in zip(golds, answered, strict=True)
    ]


def gold_request(database: Path, gold: str, keep_rows: int) -> ExecutionRequest:
    return ExecutionRequest(database, gold, Limits().gold_deadline_s, keep_rows, ConfiguredPolicy().rule(gold))


@dataclass
class Verified:
    """Accepted and rejected examples, in the order of writing."""

    accepted: list[Example] = field(default_factory=list)
    rejected: list[RejectedExample] = field(default_factory=list)

    def reasons(self) -> Counter[str]:
        return Counter(row.reason for row in self.rejected)


@dataclass(frozen=True)
class Fault:
    reason: str
    detail: str
    gate: str


def gold_fault(execution: Execution) -> str | None:
    if execution.outcome is Outcome.EMPTY:
        return "gold_empty"
    if execution.outcome is not Outcome.OK:
        return f"gold_{execution.outcome.value}"
    return "gold_null" if execution.all_null else None


class Verifier:
    def __init__(self, command: VerifyExamples, objects: ObjectStore, pool: SandboxPool) -> None:
        self.command, self.objects, self.pool = command, objects, pool
        self.catalog = CardCache(objects)

    def verify(self, written: Sequence[WrittenExample]) -> Verified:
        ran = self.pool.execute_many([gold_request(self.file(row), row.sql, 50) for row in written])
        faults = [self.fault(row, execution) for row, execution in zip(written, ran, strict=True)]
        self.find_constant(written, ran, faults)
        found = Verified()
        for row, fault in zip(written, faults, strict=True):
            if fault is None:
                found.accepted.append(self.as_example(row))
            else:
                found.rejected.append(
                    RejectedExample(reason=fault.reason, detail=fault.detail, written=row, gate=fault.gate)
                )
        return found

    def file(self, row: WrittenExample) -> Path:
        return local_database(self.objects, row.database_id or "")

    def fault(self, row: WrittenExample, execution: Execution) -> Fault | None:
        OUTCOMES.labels(outcome=execution.outcome.value).inc()
        reason = gold_fault(execution)
        if reason is not None:
            return Fault(reason, execution.message or "", "verify")
        if (why := find_syntax_error(row.sql)) is not None:
            return Fault(UNREADABLE, why, "parse")
        if reads_no_table(row.sql):
            return Fault(CONSTANT, "the gold reads no table", "suite_databases")
        if self.command.agreement and row.provenance.writer in GENERATED_BY:
            disagree = find_disagreement(row.question, row.sql, row.evidence)
            return Fault(DISAGREES, str(disagree), "agreement") if disagree else None
        return None

    def find_constant(
        self, written: Sequence[WrittenExample], ran: Sequence[Execution], faults: list[Fault | None]
    ) -> None:
        left = [place for place, fault in enumerate(faults) if fault is None]
        if not self.command.suite_databases or not left:
            return
        sqls: dict[str, list[str]] = {}
        for place in left:
            sqls.setdefault(written[place].database_id or "", []).append(written[place].sql)
        suites = prepare_suites(self.objects, sqls, self.command.suite_databases)
        golds = [(self.file(written[place]), written[place].sql, ran[place]) for place in left]
        for place, count in zip(left, find_constant_golds(self.pool, golds, suites), strict=True):
            if count:
                detail = f"the gold's result is the same on {count} test-suite databases"
                faults[place] = Fault(CONSTANT, detail, "suite_databases")

    def as_example(self, row: WrittenExample) -> Example:
        database_id = row.database_id or ""
        shared = {name: getattr(row, name) for name in WrittenExample.model_fields if name in Example.model_fields}
        try:
            measured = card_hardness(row.sql, self.catalog.card(database_id))
        except NotFoundError:
            measured = None  # a database without a card
        own = {
            "example_id": example_id(database_id, row.question, row.evidence, row.sql),
            "database_id": database_id,
            "gold": row.sql,
            "measured": measured,
        }
        return Example.model_validate({**shared, **own})
