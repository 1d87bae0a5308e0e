"""Which of a question's judged candidates become a pair. One policy a function, each with what it is for."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.contracts.pairing import PairPolicy
from shared.contracts.records import Judged, Verdict
from shared.llm.ask import stable_seed

Reason = Literal["pair", "all_correct", "none_correct", "excluded_gold"]
BAD_GOLD = (Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT, Verdict.BOTH_EMPTY)
REJECTED = (Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen and a rejected candidate of one question."""

    chosen: Judged
    rejected: Judged


def first_of_each(judged: Sequence[Judged], verdicts: Sequence[Verdict]) -> list[Judged]:
    """Distinct SQL texts among these verdicts, the lowest slot of each."""
    found: dict[str, Judged] = {}
    for row in sorted(judged, key=lambda row: row.candidate.slot):
        if row.verdict in verdicts and row.candidate.sql:
            found.setdefault(row.candidate.sql, row)
    return list(found.values())


def choose_one(judged: Sequence[Judged], seed: int) -> tuple[Choice | None, Reason]:
    """The release's policy: any correct against any wrong, one pair a question, drawn by seed and example."""
    if any(row.verdict in BAD_GOLD for row in judged):
        return None, "excluded_gold"
    right, wrong = first_of_each(judged, [Verdict.CORRECT]), first_of_each(judged, REJECTED)
    if not right:
        return None, "none_correct"
    if not wrong:
        return None, "all_correct"
    rng = random.Random(stable_seed(seed, judged[0].candidate.example_id))
    return Choice(rng.choice(right), rng.choice(wrong)), "pair"


POLICIES: dict[PairPolicy, Callable[[Sequence[Judged], int], tuple[Choice | None, Reason]]] = {
    "one_per_question": choose_one,
}
