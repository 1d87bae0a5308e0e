"""Verdicts: what two runs say about a candidate, and what several policies say together."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.sandbox.execution.requests import Execution
from shared.contracts.records import Dependence, Outcome, Policy, Verdict


@dataclass(frozen=True)
class Judgement:
    """One candidate's verdict; `execution` is None if the candidate was not run.

    `suite_databases` counts the test-suite databases on which it was also compared with its gold,
    `suite_databases_lost` those on which it gave something else.
    """

    sql: str | None
    verdict: Verdict
    policy: Policy
    execution: Execution | None
    gold: Execution
    suite_databases: int = 0
    suite_databases_lost: int = 0

    @property
    def depends_on(self) -> tuple[Dependence, ...]:
        runs = [run for run in (self.gold, self.execution) if run is not None]
        found = {
            Dependence.CLOCK: any(run.clock for run in runs),
            Dependence.OUR_LIMITS: any(run.sandbox_limited for run in runs),
            Dependence.COLLATION: any(run.foreign for run in runs),
        }
        return tuple(name for name, holds in found.items() if holds)


def decide_verdict(sql: str | None, execution: Execution | None, gold: Execution) -> Verdict:
    """A result that was not read to its end is never compared, and a stop by one of the sandbox's limits is no mistake
    of the SQL: both are disputed.
    """
    if sql is None:
        return Verdict.UNEXTRACTABLE
    if gold.outcome is Outcome.TIMEOUT:
        return Verdict.GOLD_TIMEOUT
    # before the test for completeness: a capped gold has not failed
    if gold.capped or gold.sandbox_limited:
        return Verdict.DISPUTED
    if execution is None or not gold.complete:
        return Verdict.GOLD_FAILED
    if execution.outcome is Outcome.TIMEOUT:
        return Verdict.TIMEOUT
    if execution.capped or execution.sandbox_limited:
        return Verdict.DISPUTED
    if not execution.complete:
        return Verdict.ERROR
    return compare_results(execution, gold)


def compare_results(execution: Execution, gold: Execution) -> Verdict:
    if gold.row_count == 0 and execution.row_count == 0:
        return Verdict.BOTH_EMPTY
    if execution.matched is None:
        return Verdict.DISPUTED
    return Verdict.CORRECT if execution.matched else Verdict.WRONG


def mark_unknown_columns(execution: Execution, known: str) -> Execution:
    """Turn the run into `unknown_column` when a double-quoted name is neither a column nor a text in `known`.

    SQLite reads such a name as a string, so a misspelt column runs and matches nothing.
    """
    strange = [name for name in execution.double_quoted_strings if name.casefold() not in known.casefold()]
    if not strange or not execution.complete:
        return execution
    hint = "SQLite would read it as a string, which neither question nor gold holds"
    message = f'no such column: "{strange[0]}" ({hint})'
    return replace(execution, outcome=Outcome.UNKNOWN_COLUMN, message=message, fingerprint=None, matched=None)


FAILED = frozenset({Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT})
# These are about the question rather than the answer, so they come first: a policy cannot trust the gold.
TAKES_PRECEDENCE = (Verdict.UNEXTRACTABLE, Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT, Verdict.BOTH_EMPTY)


def combine_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for several policies, the main policy's first.

    Both sides of a pair must be beyond dispute, and rules of comparison differ (duplicates, order of columns, empty
    cells). So an answer that one policy accepts and another refuses is `disputed`. Refusals of different kinds give the
    main policy's. Raises ValueError for no verdict.
    """
    found = list(verdicts)
    if not found:
        raise ValueError("a combined verdict needs at least one verdict")
    for verdict in TAKES_PRECEDENCE:
        if verdict in found:
            return verdict
    if len(set(found)) == 1 or all(verdict in FAILED for verdict in found):
        return found[0]
    return Verdict.DISPUTED
