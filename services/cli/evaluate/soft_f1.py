"""Soft-F1 needs whole results, so its questions are run on their own, a few at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from services.cli.evaluate.layout import Databases
from services.evaluation.benchmark.bird.soft_f1 import soft_f1
from services.evaluation.benchmark.mode import Mode
from services.evaluation.benchmark.pairs import Pair
from services.sandbox.execution import Execution, Request
from services.sandbox.judge import now_ms
from services.sandbox.limits import Limits
from services.sandbox.policies import Reading
from services.sandbox.pool import SandboxPool
from shared.contracts.records import Policy

AT_ONCE = 16


def soft_f1_scores(
    pairs: Sequence[Pair],
    databases: Databases,
    limits: Limits,
    children: int,
    mode: Mode,
    progress: Callable[[int], None],
) -> list[float]:
    """One score a pair, 0 to 1; 0 where gold or prediction gave no whole result."""
    rule = Reading(Policy.BIRD).rule("")
    whole = replace(limits, max_cell_chars=max(limits.value_bytes, limits.stored_value_bytes))
    found: list[float] = []
    with SandboxPool(children, whole) as pool:
        for begin in range(0, len(pairs), AT_ONCE):
            part = pairs[begin : begin + AT_ONCE]
            requests: list[Request] = []
            now = now_ms()
            for pair in part:
                path, keep = databases.main(pair.db_id), limits.max_rows
                requests.append(Request(path, pair.gold, limits.gold_deadline_s, keep, rule, now_ms=now))
                requests.append(Request(path, pair.prediction, limits.deadline_s, keep, rule, now_ms=now))
            ran = pool.execute_many(requests)
            found += [score_of(*both, mode) for both in zip(ran[::2], ran[1::2], strict=True)]
            progress(len(part))
    return found


def score_of(gold: Execution, prediction: Execution, mode: Mode) -> float:
    """The score of two runs."""
    if not (gold.complete and prediction.complete):
        return 0.0
    return soft_f1(prediction.rows, gold.rows, mode)
