"""Decides what pairs a question gives, or why it gives none. Pure."""

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
from shared.contracts.records import JudgedCandidate, Outcome, Pair, SuspectGold, Verdict

BAD_GOLD_VERDICTS = (Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT, Verdict.BOTH_EMPTY)
AGREEING_SHARE = 0.5  # of the samples (docs/decisions/0010-pairs.md)


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is `pair`, or why there is none; `refused` counts pairings by the filter that refused them."""

    reason: str
    pairings: list[Pairing] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    suspect: SuspectGold | None = None


def decide_pairs(judged: Sequence[JudgedCandidate], command: BuildPairs) -> Decision:
    """The decision for one question's judged candidates (at least one), in any order.

    A gold that failed, timed out or is empty like an answer's result gives no pair at all: nothing says what is right.
    Suspect golds come next; then sides, allowed pairings, and the policy.
    """
    for verdict in BAD_GOLD_VERDICTS:
        if any(row.verdict is verdict for row in judged):
            return Decision(verdict.value)
    # Before the sides: there, the result that most samples share would count as wrong.
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
    pairings, refused = allowed_pairings(right, wrong, command.length_ratio)
    if not pairings:
        return Decision("filtered", refused=refused)
    given = PolicyInput(judged[0].candidate.example_id, pairings, command.seed, command.per_question)
    return Decision("pair", policy.pick(given), refused)


def find_suspect_gold(judged: Sequence[JudgedCandidate]) -> SuspectGold | None:
    """The gold, if no sample agrees with it and at least half of all samples agree on one other result.

    An empty result is no agreement, because most mistakes in a condition give one; nor is a single sample.
    """
    rows = sort_by_slot(judged)
    if any(agrees_with_gold(row) for row in rows):
        return None
    results = Counter(row.result_hash for row in rows if row.outcome is Outcome.OK and row.result_hash)
    if not results:
        return None
    # Equal counts go by hash, so that the order of arrival changes nothing.
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


def agrees_with_gold(row: JudgedCandidate) -> bool:
    """Whether a sample gives the gold's result on the original database, under any of the policies."""
    return (
        row.verdict is Verdict.CORRECT
        or Verdict.CORRECT in row.verdicts.values()
        # right on the original, and refused on a test-suite database
        or row.suite_databases_lost > 0
        or (row.result_hash is not None and row.result_hash == row.gold_result_hash)
    )


def make_pair(pairing: Pairing, row: JudgedCandidate, policy: str) -> Pair:
    chosen, rejected = pairing.chosen, pairing.rejected
    return Pair(
        example_id=row.candidate.example_id,
        sample_rows=row.candidate.sample_rows,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_slot=chosen.slot,
        rejected_slot=rejected.slot,
        rejected_verdict=rejected.verdict,
        rejected_outcome=rejected.outcome,
        rejected_message=rejected.message,
        model=row.candidate.model,
        policy=policy,
        chosen_outcome=chosen.outcome,
        chosen_suite_databases=chosen.suite_databases,
        chosen_answer=chosen.answer_key,
        rejected_answer=rejected.answer_key,
        rejected_shared=rejected.shared,
        distance=pairing.distance,
        gold_chosen=pairing.gold_chosen,
        judged_by=sorted(row.verdicts) or [row.policy],
        chosen_reasoning=chosen.reasoning,
        rejected_reasoning=rejected.reasoning,
    )
