"""New rows for one table of a variant: rows of the original, some cells changed, all constraints kept.

A changed value keeps its form: the same character classes, length, case, date format, number of decimals. Foreign keys
are drawn with skew, so that some parents get many children and some none.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, timedelta
from random import Random

from services.sandbox.test_suites.plan import TablePlan
from services.sandbox.test_suites.profile import ColumnProfile, shape
from services.sandbox.test_suites.schema import ForeignKey, Row, Value, fold_value, seeded_random

LARGEST = 2**63 - 1  # SQLite's largest integer
DAYS = (1, 1, 7, 30, 365)


def near_number(value: int | float, places: int, low: float, high: float, chance: Random) -> int | float:
    """A little above or below, of the same type; never below zero if the column is not."""
    step = chance.choice((1, 1, 2, 3)) * (1 if isinstance(value, int) else 10.0**-places)
    if high - low > 1000 * step and chance.random() < 0.3:
        step = type(value)((high - low) / 50)
    moved = value + step if chance.random() < 0.5 else value - step
    if low >= 0 > moved:
        moved = value + step
    return fitted(moved, places)


def between(a: int | float, b: int | float, places: int) -> int | float:
    middle = a / 2 + b / 2
    # above 2**53 a float no longer holds every integer
    return fitted(int(middle) if isinstance(a, int) and abs(middle) < 2**53 else middle, places)


def fitted(value: int | float, places: int) -> int | float:
    if isinstance(value, int):
        return max(-LARGEST, min(LARGEST, value))
    return round(value, places)


def near_date(text: str, chance: Random) -> str:
    days = chance.choice(DAYS) * chance.choice((1, -1))
    try:
        return (date.fromisoformat(text[:10]) + timedelta(days=days)).isoformat() + text[10:]
    except (ValueError, OverflowError):
        return text


def near_digits(text: str, fixed: bool, chance: Random) -> str:
    moved = str(max(0, int(text) + chance.choice((1, 2, -1, -2))))
    if fixed or text.startswith("0"):
        moved = moved.zfill(len(text))
        return moved if len(moved) == len(text) else text
    return moved


def near_text(text: str, keep: int, chance: Random) -> str:
    letters = [n for n, c in enumerate(text) if n >= keep and c.isascii() and c.isalpha()]
    digits = [n for n, c in enumerate(text) if n >= keep and c.isascii() and c.isdigit()]
    if not letters and not digits:
        return text
    place = chance.choice(letters) if letters and (not digits or chance.random() < 0.7) else digits[-1]
    first, count = ("0", 10) if text[place].isdigit() else ("a", 26) if text[place].islower() else ("A", 26)
    other = chr(ord(first) + (ord(text[place]) - ord(first) + 1 + chance.randrange(count - 1)) % count)
    return text[:place] + other + text[place + 1 :]


def containing(stem: str, own: str, fixed: bool, chance: Random) -> str:
    if fixed:
        over = stem + own[len(stem) :]
        return over if shape(over) == shape(own) else own
    cut = chance.randint(0, len(own))
    return chance.choice((stem + own[cut:], own[:cut] + stem, own[:cut] + stem + own[cut:]))


RATES = (0.05, 0.2, 0.45, 0.8)  # share of the cells that change
HOT = 3  # favourite values, which make ties and duplicates
FRESH_TRIES = 12


class CellVariation:
    """Draws cells of one column. Rate, favourites and share of NULL are drawn once per variant."""

    def __init__(self, profile: ColumnProfile, chance: Random) -> None:
        self.profile, self.chance = profile, chance
        self.rate = chance.choice(RATES)
        self.nulls = min(0.5, profile.nulls * 2 * chance.random())
        count = min(HOT, len(profile.values))
        self.hot = chance.sample(profile.values, count)
        self.highest = max((n for n in profile.numbers if isinstance(n, int)), default=0)

    def cell(self, base: Value) -> Value:
        return self.other(base) if self.chance.random() < self.rate else base

    def other(self, base: Value) -> Value:
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
        p = self.profile
        if p.stems and (not p.exact or self.chance.random() < 0.4):
            own = base if isinstance(base, str) else self.chance.choice(p.values)
            stem = self.chance.choice(p.stems)
            return containing(stem, own, p.fixed or p.form == "date", self.chance) if isinstance(own, str) else own
        value = self.chance.choice(p.exact)
        return value if isinstance(value, str) or self.chance.random() < 0.6 else self.near(value)

    def near(self, value: Value) -> Value:
        """A value close by, of the same form; the value itself if the form forbids a change."""
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
        p = self.profile
        if len(p.numbers) > 1 and self.chance.random() < 0.3:
            place = min(bisect_left(p.numbers, value), len(p.numbers) - 1)
            return between(value, p.numbers[place - 1], p.places)
        return near_number(value, p.places, p.low, p.high, self.chance)

    def fresh(self, base: Value, used: set[Value]) -> Value:
        """A value for a key: the base's if it is free, otherwise an unused one; None if there is none."""
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


STAY = (0.3, 0.6, 0.9)
BARREN = (0.0, 0.15, 0.35)
NULLS = (0.0, 1.0, 2.0)


class ParentKeys:
    """The parents' keys for one foreign key in one variant."""

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
        """The base's parent or another; parts in `fixed` (place in the key, value) are set already.

        None if the key is to be NULL or no parent has those parts.
        """
        if fixed:
            return self.matching(base, fixed)
        if None in base:
            return None if self.chance.random() < self.nulls or not self.nulls else self.other()
        if base in self.known and self.chance.random() < self.stay:
            return base
        return None if self.chance.random() < self.nulls else self.other()

    def other(self) -> Row | None:
        if not self.fertile:
            return None
        # the square favours small indexes: skewed numbers of children
        return self.fertile[int(len(self.fertile) * self.chance.random() ** 2)]

    def unused(self, used: set[Value]) -> Row | None:
        free = [key for key in self.keys if key[0] not in used]
        return self.chance.choice(free) if free else None

    def matching(self, base: Row, fixed: Sequence[tuple[int, Value]]) -> Row | None:
        found = [key for key in self.keys if all(key[place] == value for place, value in fixed)]
        if base in found and self.chance.random() < self.stay:
            return base
        return self.chance.choice(found) if found else None


DROPPED = (0.0, 0.1, 0.3, 0.5)
ADDED = (0.0, 0.1, 0.4, 0.8)
ADDED_TO_SMALL = 4
EXCHANGED = 0.35  # share of variants in which the rows of a table exchange their keys
MISSING = object()  # None is a value: NULL


class RowVariation:
    """Draws rows. `accept` records what a drawn row fixes: keys used, dependencies."""

    def __init__(self, plan: TablePlan, parents: dict[ForeignKey, Sequence[Row]], names: tuple[object, ...]) -> None:
        self.plan = plan
        self.chance = seeded_random(*names, plan.name)
        # each column has a stream of random numbers, so a change in one column leaves the others alone
        streams = [seeded_random(*names, plan.name, column.name) for column in plan.table.columns]
        self.columns = [CellVariation(p, chance) for p, chance in zip(plan.profiles, streams, strict=True)]
        self.links = {link: self.parents(link, keys, streams) for link, keys in parents.items()}
        self.foreign = {column for link in (*plan.links, *plan.later) for column in link.columns}
        self.used: dict[int, set[Value]] = {column: set() for column in plan.singles}
        self.maps: dict[tuple[int, int], dict[Value, Value]] = {}
        self.order, self.checks = plan.order, plan.checks
        self.referring = {column for link in plan.links for column in link.columns}
        self.seen: set[Row] = set()

    def parents(self, link: ForeignKey, keys: Sequence[Row], streams: list[Random]) -> ParentKeys:
        nulls = max(self.plan.profiles[column].nulls for column in link.columns)
        return ParentKeys(keys, nulls, streams[link.columns[0]])

    def bases(self, most: int) -> list[Row]:
        """Rows of the original to start from: some dropped, some repeated, never none."""
        rows = self.exchanged()
        if not rows:
            return []
        drop = self.chance.choice(DROPPED)
        kept = [row for row in rows if self.chance.random() >= drop] or [self.chance.choice(rows)]
        extra = int(len(rows) * self.chance.choice(ADDED)) + self.chance.randint(0, ADDED_TO_SMALL)
        self.chance.shuffle(rows)
        chosen = kept + [rows[int(len(rows) * self.chance.random() ** 2)] for _ in range(extra)]
        self.chance.shuffle(chosen)
        return chosen[:most]

    def exchanged(self) -> list[Row]:
        """The rows. In some variants a one-column key is dealt to other rows: a key says nothing about its row."""
        rows = self.plan.rows
        keys = [column for column in sorted(self.plan.singles) if column not in self.foreign][:1]
        if not keys or self.chance.random() >= EXCHANGED:
            return list(rows)
        place, dealt = keys[0], [row[keys[0]] for row in rows]
        self.chance.shuffle(dealt)
        return [(*row[:place], value, *row[place + 1 :]) for row, value in zip(rows, dealt, strict=True)]

    def make(self, base: Row, vary: bool) -> Row | None:
        """A row, or None if the drawn values cannot stand together. Without `vary` only keys differ from the base."""
        row: list[Value] = list(base)
        if not self.refer(row, base, vary):
            return None
        for column in self.order:
            if not self.fill(row, base, column, vary):
                return None
            if any(self.breaks(row, first, second) for first, second in self.checks.get(column, ())):
                return None
        made = tuple(row)
        return None if made in self.seen and not self.plan.repeats else made

    def refer(self, row: list[Value], base: Row, vary: bool) -> bool:
        is_set: set[int] = set()
        for link in self.plan.links:
            parents = self.links[link]
            own = tuple(base[column] for column in link.columns)
            fixed = [(n, row[column]) for n, column in enumerate(link.columns) if column in is_set]
            if None in own and any(value is None for _, value in fixed):
                continue
            key = own if not vary and own in parents.known and not fixed else parents.pick(own, fixed)
            single = link.columns[0]
            # a foreign key that is also unique (one to one) needs a parent without a child
            if key is not None and single in self.used and self.fold(single, key[0]) in self.used[single]:
                key = parents.unused(self.used[single])
            if key is None and not self.to_null(row, link, own):
                return False
            for column, value in zip(link.columns, key or (), strict=False):
                row[column] = value
            is_set |= set(link.columns)
        return True

    def to_null(self, row: list[Value], link: ForeignKey, own: Row) -> bool:
        """Leave a foreign key NULL as in the original; returns whether it may be."""
        if None in own:
            return True
        for column in link.columns:
            if self.plan.profiles[column].nulls and column not in self.used:
                row[column] = None
                return True
        return False

    def fill(self, row: list[Value], base: Row, column: int, vary: bool) -> bool:
        """Set one cell; False if it breaks a dependency or no value is left for a key."""
        is_set = column in self.referring
        forced = self.forced(row, column) if column in self.plan.determined else MISSING
        if forced is not MISSING:
            if (is_set or column in self.used) and forced != row[column]:
                return False
            row[column] = forced  # type: ignore[call-overload]
        elif is_set:
            pass
        elif column in self.used:
            row[column] = self.key(base[column], column)
            return row[column] is not None or base[column] is None
        elif vary and column in self.foreign:  # its parents come later: another value of the column, or the base's
            values, rate = self.columns[column].profile.values, self.columns[column].rate
            row[column] = self.chance.choice(values) if values and self.chance.random() < rate else base[column]
        elif vary:
            row[column] = self.columns[column].cell(base[column])
        return True

    def key(self, base: Value, column: int) -> Value:
        used = self.used[column]
        if base is None:
            return None
        if self.fold(column, base) not in used:
            return base
        value = self.columns[column].fresh(base, used)
        return None if self.fold(column, value) in used else value

    def fold(self, column: int, value: Value) -> Value:
        about = self.plan.table.columns[column]
        return fold_value(value, about.affinity, about.collation)

    def forced(self, row: list[Value], column: int) -> object:
        for determinant in self.plan.determined[column]:
            known = self.maps.get((determinant, column))
            if known is not None and row[determinant] is not None and row[determinant] in known:
                return known[row[determinant]]
        return MISSING

    def breaks(self, row: list[Value], determinant: int, column: int) -> bool:
        known = self.maps.get((determinant, column))
        if known is None or row[determinant] is None or row[determinant] not in known:
            return False
        return known[row[determinant]] != row[column]

    def accept(self, row: Row) -> None:
        for column, used in self.used.items():
            if row[column] is not None:
                used.add(self.fold(column, row[column]))
        for column, determinants in self.plan.determined.items():
            for determinant in determinants:
                if row[determinant] is not None:
                    self.maps.setdefault((determinant, column), {})[row[determinant]] = row[column]
        if not self.plan.repeats:
            self.seen.add(row)
