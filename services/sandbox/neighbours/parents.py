"""Foreign keys of new rows: drawn from the new parents with skew, so that some get many children and some none."""

from collections.abc import Sequence
from random import Random

from services.sandbox.neighbours.values import Row, Value

STAY = (0.3, 0.6, 0.9)
BARREN = (0.0, 0.15, 0.35)
NULLS = (0.0, 1.0, 2.0)


class Parents:
    """The keys of one foreign key in one neighbour."""

    def __init__(self, keys: Sequence[Row], nulls: float, chance: Random) -> None:
        self.chance = chance
        self.keys = list(dict.fromkeys(keys))
        chance.shuffle(self.keys)
        self.stay = chance.choice(STAY)
        self.nulls = min(0.5, nulls * chance.choice(NULLS))
        barren = int(len(self.keys) * chance.choice(BARREN))
        self.fertile = self.keys[: len(self.keys) - barren] or self.keys
        self.known = set(self.fertile)

    def pick(self, base: Row, fixed: Sequence[tuple[int, Value]]) -> Row | None:
        """The base's own parent, or another; parts in `fixed` (place in the key, value) are given already.

        None where the key is to be NULL or no parent has those parts.
        """
        if fixed:
            return self.matching(base, fixed)
        if None in base:
            return None if self.chance.random() < self.nulls or not self.nulls else self.other()
        if base in self.known and self.chance.random() < self.stay:
            return base
        return None if self.chance.random() < self.nulls else self.other()

    def other(self) -> Row | None:
        """Any parent, the first ones far more often."""
        if not self.fertile:
            return None
        return self.fertile[int(len(self.fertile) * self.chance.random() ** 2)]

    def unused(self, used: set[Value]) -> Row | None:
        """A parent that has no child yet, for a key of one column that must not repeat."""
        free = [key for key in self.keys if key[0] not in used]
        return self.chance.choice(free) if free else None

    def matching(self, base: Row, fixed: Sequence[tuple[int, Value]]) -> Row | None:
        """A parent with the given parts."""
        found = [key for key in self.keys if all(key[place] == value for place, value in fixed)]
        if base in found and self.chance.random() < self.stay:
            return base
        return self.chance.choice(found) if found else None
