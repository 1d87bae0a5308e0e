"""What will happen, to which job and when: drawn by a seed before anything runs."""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tests.failure.chaos.faults import HAPPENINGS
from tests.failure.chaos.world import VARIANTS

SPAN_S = 6.0  # a warm stack takes five to nine seconds for the jobs of a batch


@dataclass
class Round:
    """What happens to one job, and what came of it. `struck` counts what began before the job was over."""

    number: int
    variant: int
    happenings: list[tuple[str, float]]
    job: str = ""
    seconds: float = 0.0
    extra: int = 0
    struck: int = 0
    retried: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """What happens, without the moments."""
        return [name for name, _ in self.happenings]

    def line(self) -> str:
        """As a table's row."""
        end = "; ".join(self.problems).replace("\n", " ")[:300] if self.problems else "equal"
        more = " after a retry" if self.retried else ""
        what = ", ".join(f"{name} at {after_s:.1f} s" for name, after_s in self.happenings)
        head = f"{self.number:>4}  {self.job:<13} {self.seconds:6.1f} s  {self.extra:+3d}  {end}{more}"
        return f"{head} <- {self.struck} in time of: {what}"


def draw(seed: int, runs: int, faults: int, kinds: Collection[str] = HAPPENINGS) -> list[Round]:
    """Rounds of that many happenings each; the same seed gives the same ones at the same moments on any machine."""
    names, drawn = deck(seed, kinds), []
    for number in range(runs):
        rng = random.Random(f"{seed}/{number}")
        variant = number % VARIANTS
        happenings = [(next(names), rng.uniform(0.3, SPAN_S)) for _ in range(faults)]
        drawn.append(Round(number, variant, happenings))
    return drawn


def deck(seed: int, kinds: Collection[str] = HAPPENINGS) -> Iterator[str]:
    """Every kind comes before one comes again."""
    turn = 0
    while True:
        yield from random.Random(f"{seed}/deck/{turn}").sample(sorted(kinds), len(kinds))
        turn += 1
