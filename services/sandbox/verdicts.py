"""Verdicts: what two runs say of a candidate. Pure."""

from dataclasses import dataclass, replace

from services.sandbox.execution import Execution
from shared.contracts.records import Dependence, Outcome, Policy, Verdict


@dataclass(frozen=True)
class Judgement:
    """One candidate's verdict; `execution` is None where the candidate was not run.

    `neighbours` counts the neighbour databases on which it was held against its gold too, `neighbours_lost` those of
    them on which it gave something else.
    """

    sql: str | None
    verdict: Verdict
    policy: Policy
    execution: Execution | None
    gold: Execution
    neighbours: int = 0
    neighbours_lost: int = 0

    @property
    def depends_on(self) -> tuple[Dependence, ...]:
        """What else than the two texts and the database the verdict depends on."""
        runs = [run for run in (self.gold, self.execution) if run is not None]
        found = {
            Dependence.CLOCK: any(run.clock for run in runs),
            Dependence.OUR_LIMITS: any(run.walled for run in runs),
            Dependence.COLLATION: any(run.foreign for run in runs),
        }
        return tuple(name for name, holds in found.items() if holds)


def comparable(gold: Execution) -> bool:
    """Whether candidates can be held against this run of the gold at all."""
    return gold.complete


def verdict(sql: str | None, execution: Execution | None, gold: Execution) -> Verdict:
    """The verdict from what the two runs left. A result that was not read to its end is never compared, and what a
    limit of ours stopped is no mistake of the SQL: both are disputed.
    """
    if sql is None:
        return Verdict.UNEXTRACTABLE
    if gold.outcome is Outcome.TIMEOUT:
        return Verdict.GOLD_TIMEOUT
    if gold.capped or gold.walled:
        return Verdict.DISPUTED
    if execution is None or not gold.complete:
        return Verdict.GOLD_FAILED
    if execution.outcome is Outcome.TIMEOUT:
        return Verdict.TIMEOUT
    if execution.capped or execution.walled:
        return Verdict.DISPUTED
    if not execution.complete:
        return Verdict.ERROR
    return compared(execution, gold)


def compared(execution: Execution, gold: Execution) -> Verdict:
    """Two results that were seen whole."""
    if gold.row_count == 0 and execution.row_count == 0:
        return Verdict.BOTH_EMPTY
    if execution.matched is None:
        return Verdict.DISPUTED
    return Verdict.CORRECT if execution.matched else Verdict.WRONG


def with_unknown_columns(execution: Execution, known: str) -> Execution:
    """The run as an `unknown_column`, where a name in double quotes is no column, and no text that `known` speaks of.

    SQLite reads such a name as a string, so that a misspelt column runs and compares with nothing.
    """
    strange = [name for name in execution.flagged if name.casefold() not in known.casefold()]
    if not strange or not execution.complete:
        return execution
    said = f'no such column: "{strange[0]}" (SQLite would read it as a string, which neither question nor gold holds)'
    return replace(execution, outcome=Outcome.UNKNOWN_COLUMN, message=said, fingerprint=None, matched=None)
