"""Verdicts: candidates against their gold, under the `strict` policy.

Strict: bags of rows, or lists where the gold's outermost query has ORDER BY; columns in any order; numbers equal to
nine significant digits; NULL equals only NULL.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.sandbox.columns import Target
from services.sandbox.execution import Execution, Request
from services.sandbox.files import Identity, identify
from services.sandbox.limits import Limits
from services.sandbox.ordering import order_matters
from services.sandbox.pool import SandboxPool
from shared.contracts.records import Outcome, Policy, Verdict

GOLDS_KEPT = 1024


@dataclass(frozen=True)
class Judgement:
    """One candidate's verdict; `execution` is None where the candidate was not run."""

    sql: str | None
    verdict: Verdict
    policy: Policy
    execution: Execution | None
    gold: Execution


class Judge:
    """Judges over a pool; remembers how golds ran. Thread safe."""

    def __init__(self, pool: SandboxPool, limits: Limits | None = None) -> None:
        self.pool = pool
        self.limits = limits or pool.limits
        self._golds: OrderedDict[tuple[Path, Identity, str], Execution] = OrderedDict()
        self._lock = threading.Lock()

    def judge(self, database: Path, gold: str, sqls: Sequence[str | None]) -> list[Judgement]:
        """One judgement a candidate, in order. Raises what `SandboxPool.execute` raises for the database."""
        reference = self.gold(database, gold)
        runs: dict[str, Execution] = {}
        if reference.complete or reference.capped:
            runs = self._run(database, gold, reference, list(dict.fromkeys(sql for sql in sqls if sql is not None)))
        return [self._judgement(sql, runs.get(sql) if sql is not None else None, reference) for sql in sqls]

    def gold(self, database: Path, sql: str) -> Execution:
        """The gold's run, from memory where this very file and text ran before; it has the longer budget."""
        key = (database, identify(database), sql)
        with self._lock:
            known = self._golds.get(key)
        if known is None:
            known = self.pool.run(Request(database, sql, self.limits.gold_deadline_s, marks=True))
            self._remember(key, known)
        return known

    def _remember(self, key: tuple[Path, Identity, str], execution: Execution) -> None:
        if execution.outcome is Outcome.KILLED:  # may be the machine's doing: let the next call try again
            return
        with self._lock:
            self._golds[key] = execution
            while len(self._golds) > GOLDS_KEPT:
                self._golds.popitem(last=False)

    def _run(self, database: Path, gold: str, reference: Execution, sqls: list[str]) -> dict[str, Execution]:
        target = target_of(reference, order_matters(gold))
        requests = [Request(database, sql, self.limits.deadline_s, target=target) for sql in sqls]
        return dict(zip(sqls, self.pool.execute_many(requests), strict=True))

    def _judgement(self, sql: str | None, execution: Execution | None, gold: Execution) -> Judgement:
        return Judgement(sql, verdict(sql, execution, gold), Policy.STRICT, execution, gold)


def target_of(gold: Execution, ordered: bool) -> Target | None:
    """What candidates are held against; None for a gold that was not read to its end."""
    found = gold.ordered_hash if ordered else gold.bag_hash
    return None if found is None else Target(found, ordered, gold.row_count, gold.marks)


def verdict(sql: str | None, execution: Execution | None, gold: Execution) -> Verdict:
    """The verdict from what the two runs left."""
    if sql is None:
        return Verdict.UNEXTRACTABLE
    if gold.outcome is Outcome.TIMEOUT:
        return Verdict.GOLD_TIMEOUT
    if execution is None:
        return Verdict.GOLD_FAILED
    if execution.outcome is Outcome.TIMEOUT:
        return Verdict.TIMEOUT
    if not execution.complete and not execution.capped:
        return Verdict.ERROR
    return compared(execution, gold)


def compared(execution: Execution, gold: Execution) -> Verdict:
    """Two runs that gave rows. A capped result is larger than any complete one; two capped ones stay undecided."""
    if execution.capped or gold.capped:
        return Verdict.DISPUTED if execution.capped and gold.capped else Verdict.WRONG
    if gold.row_count == 0 and execution.row_count == 0:
        return Verdict.BOTH_EMPTY
    if execution.matched is None:
        return Verdict.DISPUTED
    return Verdict.CORRECT if execution.matched else Verdict.WRONG
