"""Random choices over a world: tables, columns, conditions, relations, with the words for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from services.synthesis.grammar.english import COMPARISONS, listing, plural, third_person, with_article
from services.synthesis.grammar.rows import Cell, literal
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.world import NoFit, World, title_of

T = TypeVar("T")
ORDERED = ("amount", "year", "date")
NUMBERS = ("amount",)
AGGREGATES = {
    "AVG": ("average", "mean"),
    "MAX": ("highest", "maximum"),
    "MIN": ("lowest", "minimum"),
    "SUM": ("total",),
}


@dataclass(frozen=True)
class Condition:
    """A test on one column, and how a person says it after the noun."""

    column: Column
    test: str
    text: str

    def on(self, alias: str = "") -> str:
        """The SQL test; `alias` is empty or ends in a dot."""
        return f"{alias}{self.column.name} {self.test}"


@dataclass(frozen=True)
class Relation:
    """A child table (T1 in joins), its referring column, and the parent table (T2)."""

    child: Table
    column: Column
    parent: Table

    @property
    def joined(self) -> str:
        """The FROM clause."""
        link = f"T1.{self.column.name} = T2.{self.parent.key}"
        return f"FROM {self.child.name} AS T1 JOIN {self.parent.name} AS T2 ON {link}"


@dataclass(frozen=True)
class Measure:
    """An aggregate over a column and its words, for example "average price"."""

    function: str
    column: Column
    text: str

    def on(self, alias: str = "") -> str:
        """The SQL expression."""
        return f"{self.function}({alias}{self.column.name})"


class Draw:
    """Seeded choices over one world. Every method raises NoFit where the world has nothing that suits."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.rng = rng

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        if not options:
            raise NoFit
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.rng.random() < probability

    def table(self) -> Table:
        """A table, the larger ones more often."""
        tables = self.world.domain.tables
        return self.rng.choices(tables, [2 if table.title else 1.3 for table in tables])[0]

    def named(self) -> Table:
        """A table whose rows have names."""
        return self.pick([table for table in self.world.domain.tables if table.title])

    def column(self, table: Table, kinds: Sequence[str], skip: Sequence[Column] = ()) -> Column:
        """A column of one of the kinds, without NULLs."""
        return self.pick([c for c in table.columns if c.kind in kinds and c not in skip and not c.missing])

    def relation(self) -> Relation:
        """A child and a parent whose rows have names."""
        found = []
        for child in self.world.domain.tables:
            for column in child.columns:
                if column.ref and self.world.domain.table(column.ref).title:
                    found.append(Relation(child, column, self.world.domain.table(column.ref)))
        return self.pick(found)

    def shown(self, table: Table, most: int = 2, skip: Sequence[Column] = ()) -> list[tuple[str, str, str]]:
        """What to show of a row: its title, then up to `most` - 1 other columns, as (name, label, plural label)."""
        title, label = title_of(table)
        others = [c for c in table.columns if c.kind in ("category", *ORDERED) and c not in skip]
        extra = self.rng.sample(others, min(len(others), self.rng.choice([0, 0, *range(most)])))
        return [(title, label, plural(label)), *((c.name, c.label, c.labels) for c in extra)]

    def condition(self, table: Table, skip: Sequence[Column] = (), foreign: Table | None = None) -> Condition:
        """A test that keeps some rows, not all. Labels that `foreign` has too are left out: they would be unclear."""
        taken = {column.label for column in foreign.columns} if foreign else set()
        options = [
            column
            for column in table.columns
            if column.kind in ("category", *ORDERED) and column not in skip and not column.missing
        ]
        column = self.pick([option for option in options if option.label not in taken])
        return self.equality(column) if column.kind == "category" else self.comparison(column)

    def equality(self, column: Column) -> Condition:
        """`column = value`."""
        value = self.pick(sorted(set(map(str, self.world.values(column)))))
        return Condition(column, f"= {literal(value)}", self.category_text(column, value))

    def category_text(self, column: Column, value: str) -> str:
        """A category test in words: the column's own phrase or a plain one."""
        plain = [f"whose {column.label} is {value}", f"with the {column.label} {value}"]
        if column.phrase and self.chance(0.6):
            return column.phrase.replace("_", value)
        return self.pick(plain if " or " not in value else plain[:1])

    def comparison(self, column: Column) -> Condition:
        """`column > value` and the like, keeping between one row and four fifths of them."""
        operator = self.rng.choice([">", ">", "<", "<", ">=", "<="])
        values = self.world.values(column)
        bound = self.pick(self.bounds(column, values))
        kept = sum(_holds(value, operator, bound) for value in values)
        if not 1 <= kept <= 0.8 * len(values):
            raise NoFit
        return Condition(column, f"{operator} {literal(bound)}", self.comparison_text(column, operator, bound))

    def bounds(self, column: Column, values: Sequence[Cell]) -> list[Cell]:
        """Bounds worth asking about: values that occur and, for wide ranges of integers, round numbers between them."""
        distinct = [plain(value) for value in sorted(set(values), key=_rank)]
        whole = [value for value in distinct if isinstance(value, int)]
        if column.kind != "amount" or not whole or not self.chance(0.6):
            return distinct
        step = next((step for step in (1000, 100, 50, 10, 5) if whole[-1] - whole[0] >= 8 * step), 1)
        return list(range(whole[0] // step * step + step, whole[-1], step)) or distinct

    def comparison_text(self, column: Column, operator: str, bound: Cell) -> str:
        """A comparison in words."""
        own = {">": column.more, "<": column.less}.get(operator)
        if own and self.chance(0.5):
            return own.replace("_", str(bound))
        phrase = self.pick(COMPARISONS["amount" if column.kind == "amount" else "year"][operator])
        return phrase.format(a=with_article(column.label), l=column.label, v=bound)

    def measure(self, table: Table) -> Measure:
        """An aggregate over a number."""
        column = self.column(table, NUMBERS)
        function = self.pick(["AVG", "AVG", "MAX", "MIN", *(["SUM"] if column.total else [])])
        return Measure(function, column, f"{self.pick(AGGREGATES[function])} {column.label}")

    def superlative(self, column: Column, descending: bool, one: str) -> str:
        """The noun with its superlative, for example "oldest singer" or "singer with the highest age"."""
        adjective = column.high if descending else column.low
        if adjective and self.chance(0.6):
            return f"{adjective} {one}"
        return f"{one} with the {column.extremes[descending]} {column.label}"


def columns_slots(shown: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """Words for what is shown: {cols} in the singular, {colss} in the plural."""
    return {"cols": listing([label for _, label, _ in shown]), "colss": listing([labels for _, _, labels in shown])}


def noun_slots(table: Table, prefix: str = "") -> dict[str, str]:
    """{one}, {many}, {its}, {who}, {title}, {titles} of a table, each with the prefix."""
    label = title_of(table)[1]
    words = {"one": table.one, "many": table.many, "title": label, "titles": plural(label)}
    words |= {"its": "their" if table.who else "its", "who": "who" if table.who else "that"}
    words |= {"a": with_article(table.one)}
    return {prefix + key: word for key, word in words.items()}


def relation_slots(relation: Relation) -> dict[str, str]:
    """The nouns of child and parent ({p_...}), and the verbs between them."""
    verbs = {"of": relation.column.of, "has": relation.column.has, "hass": third_person(relation.column.has)}
    return {**noun_slots(relation.child), **noun_slots(relation.parent, "p_"), **verbs}


def spoken_order(first: Condition, second: Condition) -> tuple[Condition, Condition]:
    """Two conditions in the order a person says them: a clause with "whose" comes last."""
    if first.text.startswith("whose") and not second.text.startswith("whose"):
        return second, first
    return first, second


def _rank(value: Cell) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value or 0, "")


def plain(value: Cell) -> Cell:
    """26 for 26.0: nobody asks for a price above 26.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _holds(value: Cell, operator: str, bound: Cell) -> bool:
    if value == bound:
        return "=" in operator
    return (_rank(value) > _rank(bound)) == (operator[0] == ">")
