"""Golds that say nothing of the rows: their result is the same on every neighbour of their database.

A neighbour has the same schema and other rows, and the literals of the gold among its values. A gold is constant where
it gave its own result, equal by the strict policy, on all neighbours on which it ran to the end, at least HEARD of
them. One that reads no table is constant without any.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from services.sandbox.execution import Execution, Request
from services.sandbox.limits import Limits
from services.sandbox.policies import Reading
from services.sandbox.pool import SandboxPool
from services.sandbox.second_look import Neighbourhood
from shared.sql.parser import parse_one_sql

HEARD = 3


def reads_no_table(sql: str) -> bool:
    """Whether a SQL that sqlglot reads names no table; False in doubt."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        return parse_one_sql(sql).find(exp.Table) is None
    except SqlglotError:
        return False


def constant_golds(
    pool: SandboxPool, golds: Sequence[tuple[Path, str, Execution]], around: Mapping[Path, Neighbourhood]
) -> list[int]:
    """For each (database, gold, its fingerprinted run): on how many neighbours it was the same; 0: not constant."""
    asked: list[Request] = []
    of: list[int] = []
    for place, (database, gold, _) in enumerate(golds):
        for file in around[database].files if database in around else ():
            asked.append(gold_request(file, gold, keep_rows=0))
            of.append(place)
    heard: list[list[Execution]] = [[] for _ in golds]
    for place, ran in zip(of, pool.execute_many(asked), strict=True):
        if ran.complete:
            heard[place].append(ran)
    return [len(runs) if same(own, runs) else 0 for (_, _, own), runs in zip(golds, heard, strict=True)]


def gold_request(database: Path, gold: str, keep_rows: int) -> Request:
    """A gold's run that leaves a fingerprint."""
    return Request(database, gold, Limits().gold_deadline_s, keep_rows, Reading().rule(gold))


def same(own: Execution, runs: Sequence[Execution]) -> bool:
    """Whether enough neighbours answered, and all with the same result."""
    if own.fingerprint is None or len(runs) < HEARD:
        return False
    return all(ran.fingerprint == own.fingerprint and ran.row_count == own.row_count for ran in runs)
