"""One decision a question: its pairs, or why it has none. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.pairing.policies import (
    POLICIES,
    REJECTED_VERDICTS,
    Pairing,
    PolicyInput,
    allowed_pairings,
    distinct_sides,
    gold_side,
    sort_by_slot,
)
from shared.contracts.pairing import BuildPairs
from shared.contracts.records import JudgedCandidate, Outcome, SuspectGold, Verdict

AGREEING_SHARE = 0.5


def agrees_with_gold(row: JudgedCandidate) -> bool:
    """Whether a sample gives the gold's result on the original database, under any policy that was asked."""
    return (
        row.verdict is Verdict.CORRECT
        or Verdict.CORRECT in row.verdicts.values()
        or row.neighbours_lost > 0
        or (row.result_hash is not None and row.result_hash == row.gold_result_hash)
    )


def find_suspect_gold(judged: Sequence[JudgedCandidate]) -> SuspectGold | None:
    """The gold where no sample agrees with it and at least half of all samples agree on one other result.

    An empty result is no agreement: most mistakes in a condition give it. Nor is a single sample.
    """
    rows = sort_by_slot(judged)
    if any(agrees_with_gold(row) for row in rows):
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


BAD_GOLD_VERDICTS = (Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT, Verdict.BOTH_EMPTY)


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is `pair`, or why there is none; `dropped` counts pairings that may not be, by name."""

    reason: str
    choices: list[Pairing] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    suspect: SuspectGold | None = None


def decide_pairs(judged: Sequence[JudgedCandidate], command: BuildPairs) -> Decision:
    """The decision for one question's judged candidates (at least one), in any order.

    A gold that failed, timed out or is empty like an answer's result gives no pair at all: what is right cannot be told
    there. Then suspect golds; then sides, pairings that may be, and the policy.
    """
    for verdict in BAD_GOLD_VERDICTS:
        if any(row.verdict is verdict for row in judged):
            return Decision(verdict.value)
    if (suspect := find_suspect_gold(judged)) is not None:
        return Decision("suspect_gold", suspect=suspect)
    policy = POLICIES[command.policy]
    right, wrong = distinct_sides(judged, [Verdict.CORRECT]), distinct_sides(judged, REJECTED_VERDICTS)
    if not right and policy.gold_stands_in and (gold := gold_side(judged)) is not None:
        right = [gold]
    if not right:
        return Decision("none_correct")
    if not wrong:
        return Decision("all_correct")
    choices, dropped = allowed_pairings(right, wrong, command.length_ratio)
    if not choices:
        return Decision("filtered", dropped=dropped)
    given = PolicyInput(judged[0].candidate.example_id, choices, command.seed, command.per_question)
    return Decision("pair", policy.pick(given), dropped)
