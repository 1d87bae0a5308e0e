"""What a policy is given and what it is."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.pairing.choices import Choice
from shared.sampling import stable_seed


@dataclass(frozen=True, slots=True)
class PickFrom:
    """A question's possible pairs (at least one), sorted; at most `most` may be taken."""

    example_id: str
    choices: Sequence[Choice]
    seed: int
    most: int

    def rng(self) -> random.Random:
        """The same for this seed and question, always."""
        return random.Random(stable_seed(self.seed, self.example_id))


Picker = Callable[[PickFrom], list[Choice]]


@dataclass(frozen=True, slots=True)
class Policy:
    """`gold_stands_in`: where no sample is right, the gold is the chosen side."""

    pick: Picker
    gold_stands_in: bool = False
