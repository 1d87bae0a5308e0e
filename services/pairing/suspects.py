"""Golds that a model's samples speak against: for a human to look at, never for training."""

from collections import Counter
from collections.abc import Sequence

from services.pairing.sides import by_slot
from shared.contracts.records import Judged, Outcome, SuspectGold, Verdict

AGREEING_SHARE = 0.5


def agrees(row: Judged) -> bool:
    """Whether a sample gives the gold's result on the original database, under any policy that was asked."""
    return (
        row.verdict is Verdict.CORRECT
        or Verdict.CORRECT in row.verdicts.values()
        or row.neighbours_lost > 0
        or (row.result_hash is not None and row.result_hash == row.gold_result_hash)
    )


def suspect_gold(judged: Sequence[Judged]) -> SuspectGold | None:
    """The gold where no sample agrees with it and at least half of all samples agree on one other result.

    An empty result is no agreement: most mistakes in a condition give it. Nor is a single sample.
    """
    rows = by_slot(judged)
    if any(agrees(row) for row in rows):
        return None
    results = Counter(row.result_hash for row in rows if row.outcome is Outcome.OK and row.result_hash)
    if not results:
        return None
    result, count = min(results.items(), key=lambda item: (-item[1], item[0]))
    if count < 2 or count < AGREEING_SHARE * len(rows):
        return None
    first = next(row for row in rows if row.result_hash == result)
    return SuspectGold(
        example_id=first.candidate.example_id,
        samples=len(rows),
        agreeing=count,
        gold=first.gold,
        other=first.candidate.sql or "",
        gold_result=first.gold_result,
        other_result=first.result,
        model=first.candidate.model,
    )
