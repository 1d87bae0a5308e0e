"""New rows for one table of one neighbour: a row of the original, some cells changed, all that held still holding."""

from collections.abc import Sequence
from random import Random

from services.sandbox.neighbours.draw import Column
from services.sandbox.neighbours.parents import Parents
from services.sandbox.neighbours.plan import TablePlan
from services.sandbox.neighbours.schema import Link
from services.sandbox.neighbours.values import Row, Value, folded, stream

DROPPED = (0.0, 0.1, 0.3, 0.5)
ADDED = (0.0, 0.1, 0.4, 0.8)
ADDED_TO_SMALL = 4
EXCHANGED = 0.35  # share of neighbours in which the rows of a table exchange their keys
MISSING = object()


class Rows:
    """Draws rows. What a drawn row fixes (keys used, dependencies) is only noted by `accept`."""

    def __init__(self, plan: TablePlan, parents: dict[Link, Sequence[Row]], names: tuple[object, ...]) -> None:
        self.plan = plan
        self.chance = stream(*names, plan.name)
        streams = [stream(*names, plan.name, column.name) for column in plan.table.columns]
        self.columns = [Column(p, chance) for p, chance in zip(plan.profiles, streams, strict=True)]
        self.links = {link: self.parents(link, keys, streams) for link, keys in parents.items()}
        self.foreign = {column for link in (*plan.links, *plan.later) for column in link.columns}
        self.used: dict[int, set[Value]] = {column: set() for column in plan.singles}
        self.maps: dict[tuple[int, int], dict[Value, Value]] = {}
        self.order, self.checks = plan.order, plan.checks
        self.given = {column for link in plan.links for column in link.columns}
        self.seen: set[Row] = set()

    def parents(self, link: Link, keys: Sequence[Row], streams: list[Random]) -> Parents:
        """The parents of one link, with the chance of its first column."""
        nulls = max(self.plan.profiles[column].nulls for column in link.columns)
        return Parents(keys, nulls, streams[link.columns[0]])

    def bases(self, most: int) -> list[Row]:
        """Rows of the original to start from: some dropped, some twice or more; never none of some."""
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
        """The rows, with a key of one column dealt to other rows in some neighbours: a key says nothing of its row."""
        rows = self.plan.rows
        keys = [column for column in sorted(self.plan.singles) if column not in self.foreign][:1]
        if not keys or self.chance.random() >= EXCHANGED:
            return list(rows)
        place, dealt = keys[0], [row[keys[0]] for row in rows]
        self.chance.shuffle(dealt)
        return [(*row[:place], value, *row[place + 1 :]) for row, value in zip(rows, dealt, strict=True)]

    def make(self, base: Row, vary: bool) -> Row | None:
        """A row, or None where what was drawn cannot stand together. Without `vary` only keys differ from the base."""
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
        """Set the foreign keys."""
        given: set[int] = set()
        for link in self.plan.links:
            parents = self.links[link]
            own = tuple(base[column] for column in link.columns)
            fixed = [(n, row[column]) for n, column in enumerate(link.columns) if column in given]
            if None in own and any(value is None for _, value in fixed):
                continue
            key = own if not vary and own in parents.known and not fixed else parents.pick(own, fixed)
            single = link.columns[0]
            if key is not None and single in self.used and self.fold(single, key[0]) in self.used[single]:
                key = parents.unused(self.used[single])
            if key is None and not self.to_null(row, link, own):
                return False
            for column, value in zip(link.columns, key or (), strict=False):
                row[column] = value
            given |= set(link.columns)
        return True

    def to_null(self, row: list[Value], link: Link, own: Row) -> bool:
        """Leave a foreign key NULL, as the original had some; whether it may be."""
        if None in own:
            return True
        for column in link.columns:
            if self.plan.profiles[column].nulls and column not in self.used:
                row[column] = None
                return True
        return False

    def fill(self, row: list[Value], base: Row, column: int, vary: bool) -> bool:
        """Set one cell: as its determinants say, else as drawn."""
        given = column in self.given
        forced = self.forced(row, column) if column in self.plan.determined else MISSING
        if forced is not MISSING:
            if (given or column in self.used) and forced != row[column]:
                return False
            row[column] = forced  # type: ignore[call-overload]
        elif given:
            pass
        elif column in self.used:
            row[column] = self.key(base[column], column)
            return row[column] is not None or base[column] is None
        elif vary and column in self.foreign:
            row[column] = self.resampled(base[column], column)
        elif vary:
            row[column] = self.columns[column].cell(base[column])
        return True

    def resampled(self, base: Value, column: int) -> Value:
        """For a key whose parents come later: another value of the column, or its own."""
        own = self.columns[column]
        return (
            self.chance.choice(own.profile.values) if own.profile.values and self.chance.random() < own.rate else base
        )

    def key(self, base: Value, column: int) -> Value:
        """A value that no row has yet."""
        used = self.used[column]
        if base is None:
            return None
        if self.fold(column, base) not in used:
            return base
        value = self.columns[column].fresh(base, used)
        return None if self.fold(column, value) in used else value

    def fold(self, column: int, value: Value) -> Value:
        """The form in which the column tells values apart."""
        about = self.plan.table.columns[column]
        return folded(value, about.affinity, about.collation)

    def forced(self, row: list[Value], column: int) -> object:
        """What the column's determinants say, MISSING where they say nothing yet."""
        for determinant in self.plan.determined[column]:
            known = self.maps.get((determinant, column))
            if known is not None and row[determinant] is not None and row[determinant] in known:
                return known[row[determinant]]
        return MISSING

    def breaks(self, row: list[Value], determinant: int, column: int) -> bool:
        """Whether a row accepted before has another value for the same determinant."""
        known = self.maps.get((determinant, column))
        if known is None or row[determinant] is None or row[determinant] not in known:
            return False
        return known[row[determinant]] != row[column]

    def accept(self, row: Row) -> None:
        """Note a row that is in the database now."""
        for column, used in self.used.items():
            if row[column] is not None:
                used.add(self.fold(column, row[column]))
        for column, determinants in self.plan.determined.items():
            for determinant in determinants:
                if row[determinant] is not None:
                    self.maps.setdefault((determinant, column), {})[row[determinant]] = row[column]
        if not self.plan.repeats:
            self.seen.add(row)
