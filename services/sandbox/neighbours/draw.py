"""One column of one neighbour: which cells change, and to what."""

from bisect import bisect_left
from random import Random

from services.sandbox.neighbours.mutations import between, containing, near_date, near_digits, near_number, near_text
from services.sandbox.neighbours.profile import Profile
from services.sandbox.neighbours.values import Value

RATES = (0.05, 0.2, 0.45, 0.8)  # share of the cells that change
HOT = 3
FRESH_TRIES = 12
LARGEST = 2**63 - 1


class Column:
    """Draws cells. What varies from neighbour to neighbour is drawn at the start: rate, favourites, share of NULL."""

    def __init__(self, profile: Profile, chance: Random) -> None:
        self.profile, self.chance = profile, chance
        self.rate = chance.choice(RATES)
        self.nulls = min(0.5, profile.nulls * 2 * chance.random())
        count = min(HOT, len(profile.values))
        self.hot = chance.sample(profile.values, count)
        self.highest = max((n for n in profile.numbers if isinstance(n, int)), default=0)

    def cell(self, base: Value) -> Value:
        """The base's cell, or another one."""
        return self.other(base) if self.chance.random() < self.rate else base

    def other(self, base: Value) -> Value:
        """NULL as often as the column has it; else a value of the column, a favourite, a constant or something near."""
        p, roll = self.profile, self.chance.random()
        if not p.values:
            return base
        if p.nulls and self.chance.random() < self.nulls:
            return None
        if roll < 0.35:
            return self.chance.choice(p.values)
        if roll < 0.55:
            return self.chance.choice(self.hot)
        if roll < 0.8 and (p.exact or p.stems):
            return self.constant(base)
        return self.near(base if base is not None else self.chance.choice(p.values))

    def constant(self, base: Value) -> Value:
        """A constant, just beside it, or a text that holds it."""
        p = self.profile
        if p.stems and (not p.exact or self.chance.random() < 0.4):
            own = base if isinstance(base, str) else self.chance.choice(p.values)
            stem = self.chance.choice(p.stems)
            return containing(stem, own, p.fixed or p.form == "date", self.chance) if isinstance(own, str) else own
        value = self.chance.choice(p.exact)
        return value if isinstance(value, str) or self.chance.random() < 0.6 else self.near(value)

    def near(self, value: Value) -> Value:
        """A value close by, of the same form; the value itself where the form forbids a change."""
        p = self.profile
        if p.closed:
            return self.chance.choice(p.values)
        if isinstance(value, int | float):
            return self.near_number(value)
        if not isinstance(value, str):
            return value
        if p.form == "date":
            return near_date(value, self.chance)
        if p.form == "digits":
            return near_digits(value, p.fixed, self.chance)
        return near_text(value, p.keep, self.chance)

    def near_number(self, value: int | float) -> Value:
        """A step away, or halfway to the next value of the column."""
        p = self.profile
        if len(p.numbers) > 1 and self.chance.random() < 0.3:
            place = min(bisect_left(p.numbers, value), len(p.numbers) - 1)
            return between(value, p.numbers[place - 1], p.places)
        return near_number(value, p.places, p.low, p.high, self.chance)

    def fresh(self, base: Value, used: set[Value]) -> Value:
        """A value for a key: the base's own, else one that is not used yet. NULL where none was found."""
        if base is not None and base not in used:
            return base
        for _ in range(FRESH_TRIES):
            value = self.other(base)
            if value is not None and value not in used:
                return value
        if isinstance(base, int) and self.highest < LARGEST:
            self.highest += 1
            return self.highest if self.highest not in used else None
        return None
