"""One neighbour from a plan."""

from services.sandbox.connection import Clock
from services.sandbox.limits import Limits
from services.sandbox.neighbours.plan import Plan, TablePlan
from services.sandbox.neighbours.rows import Rows
from services.sandbox.neighbours.schema import Link
from services.sandbox.neighbours.target import Target
from services.sandbox.neighbours.values import Row, stream

DRAWS = 3
CLOCK_EVERY = 64


class Variation:
    """Makes the neighbours of one plan, each from its own chance."""

    def __init__(self, plan: Plan, limits: Limits, clock: Clock, seed: int, most: int) -> None:
        self.plan, self.limits, self.clock, self.seed, self.most = plan, limits, clock, seed, most

    def neighbour(self, index: int) -> bytes:
        """The file of neighbour `index`. Where what was drawn leaves a table empty, the original's rows as they are."""
        target = Target(self.plan.schema, self.limits, self.clock)
        for table in self.plan.tables:
            self.fill(target, table, (self.seed, index))
        self.mend(target, (self.seed, index))
        if any(table.rows and target.empty(table.table) for table in self.plan.tables):
            target = self.copy()
        return target.content()

    def fill(self, target: Target, table: TablePlan, names: tuple[object, ...]) -> None:
        """Draw and insert one table's rows: what breaks a rule is drawn again, then its base is taken, then nothing."""
        rows = Rows(table, {link: target.keys(link) for link in table.links}, names)
        for number, base in enumerate(rows.bases(self.most)):
            if number % CLOCK_EVERY == 0:
                self.clock.check()
            for draw in range(DRAWS + 1):
                row = rows.make(base, vary=draw < DRAWS)
                if row is not None and target.insert(table.table, row):
                    rows.accept(row)
                    break

    def mend(self, target: Target, names: tuple[object, ...]) -> None:
        """Foreign keys whose parents came later, and what is left of others."""
        for table in self.plan.tables:
            for link in table.later:
                target.mend(link, self.replacements(target, table, link, names))
        target.repair(self.plan.held)

    def replacements(self, target: Target, table: TablePlan, link: Link, names: tuple[object, ...]) -> list[Row]:
        """Parents in an order of their own; none where another column depends on the key."""
        on_key = {d for determinants in table.determined.values() for d in determinants}
        keys = target.keys(link)
        if not keys or on_key & set(link.columns):
            return []
        chance = stream(*names, table.name, "later", link.columns)
        return [chance.choice(keys) for _ in range(self.most)]

    def copy(self) -> Target:
        """The original's rows (those of the sample)."""
        target = Target(self.plan.schema, self.limits, self.clock)
        for table in self.plan.tables:
            for row in table.rows:
                target.insert(table.table, row)
        target.repair(self.plan.held)
        return target
