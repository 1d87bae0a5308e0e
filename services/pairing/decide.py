"""One decision a question: its pairs, or why it has none. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.pairing.choices import Choice, allowed
from services.pairing.policies import POLICIES, PickFrom
from services.pairing.sides import REJECTED, gold_side, sides_of
from services.pairing.suspects import suspect_gold
from shared.contracts.pairing import BuildPairs
from shared.contracts.records import Judged, SuspectGold, Verdict

BAD_GOLD = (Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT, Verdict.BOTH_EMPTY)


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is `pair`, or why there is none; `dropped` counts pairings that may not be, by name."""

    reason: str
    choices: list[Choice] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    suspect: SuspectGold | None = None


def decide(judged: Sequence[Judged], command: BuildPairs) -> Decision:
    """The decision for one question's judged candidates (at least one), in any order.

    A gold that failed, timed out or is empty like an answer's result gives no pair at all: what is right cannot be told
    there. Then suspect golds; then sides, pairings that may be, and the policy.
    """
    for verdict in BAD_GOLD:
        if any(row.verdict is verdict for row in judged):
            return Decision(verdict.value)
    if (suspect := suspect_gold(judged)) is not None:
        return Decision("suspect_gold", suspect=suspect)
    policy = POLICIES[command.policy]
    right, wrong = sides_of(judged, [Verdict.CORRECT]), sides_of(judged, REJECTED)
    if not right and policy.gold_stands_in and (gold := gold_side(judged)) is not None:
        right = [gold]
    if not right:
        return Decision("none_correct")
    if not wrong:
        return Decision("all_correct")
    choices, dropped = allowed(right, wrong, command.length_ratio)
    if not choices:
        return Decision("filtered", dropped=dropped)
    given = PickFrom(judged[0].candidate.example_id, choices, command.seed, command.per_question)
    return Decision("pair", policy.pick(given), dropped)
