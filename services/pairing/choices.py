"""Which sides of a question may be paired at all: rules for one pair, each counted by its name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.pairing.distance import said, token_distance
from services.pairing.sides import GOLD_SLOT, Side

SAME_TEXT, SAME_PROGRAM, LENGTH_RATIO = PAIR_FILTERS = ("same_text", "same_program", "length_ratio")


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen and a rejected side of one question."""

    chosen: Side
    rejected: Side

    @property
    def distance(self) -> int:
        """In tokens."""
        return token_distance(self.chosen.text, self.rejected.text)

    @property
    def order(self) -> tuple[int, int]:
        """Decides where nothing else does."""
        return self.chosen.slot, self.rejected.slot

    @property
    def gold_chosen(self) -> bool:
        """Whether the gold stands in for a right answer."""
        return self.chosen.slot == GOLD_SLOT


def fault(choice: Choice, length_ratio: float) -> str | None:
    """Why these two teach nothing, or the wrong thing; None where they may be paired.

    `same_text`: they differ in the case of names at most; literals count as they are written. `same_program`: SQLite
    compiles both into one program, so that they give one result, and the verdicts differ for some other reason (an
    answer that was right in time and one that was too slow by a hair). `length_ratio`: where one side is many times
    longer, length is what is learnt.
    """
    chosen, rejected = choice.chosen, choice.rejected
    if said(chosen.text) == said(rejected.text):
        return SAME_TEXT
    if chosen.program is not None and chosen.program == rejected.program:
        return SAME_PROGRAM
    shorter, longer = sorted((len(chosen.text), len(rejected.text)))
    return LENGTH_RATIO if longer > length_ratio * shorter else None


def allowed(right: Sequence[Side], wrong: Sequence[Side], length_ratio: float) -> tuple[list[Choice], Counter[str]]:
    """Every pairing that may be, by slots, and how many may not by name."""
    found: list[Choice] = []
    dropped: Counter[str] = Counter()
    for chosen in right:
        for rejected in wrong:
            choice = Choice(chosen, rejected)
            if (reason := fault(choice, length_ratio)) is None:
                found.append(choice)
            else:
                dropped[reason] += 1
    return sorted(found, key=lambda choice: choice.order), dropped
