"""Seeded choices over a domain database: tables, columns, conditions, relations, with the words for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from services.synthesis.writers.grammar.database import Cell, DomainDatabase, NoFit, literal, title_of
from services.synthesis.writers.grammar.domain import (
    COMPARISONS,
    Column,
    Domain,
    Table,
    listing,
    plural,
    third_person,
    with_article,
)


@dataclass(frozen=True)
class ShownColumns:
    """Columns with their labels; `named` where the first one names its row, so that no row is taken for another."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    plurals: tuple[str, ...]
    named: bool = True

    @classmethod
    def of(cls, columns: Sequence[tuple[str, str, str]], named: bool = True) -> "ShownColumns":
        names, labels, plurals = zip(*columns, strict=True)
        return cls(names, labels, plurals, named)

    def sql(self, alias: str = "") -> str:
        """The SELECT list; `alias` is empty or ends in a dot."""
        return ", ".join(alias + name for name in self.names)

    def form(self, phrases: str) -> str:
        """The templates to use. "The colors of wines" could mean the distinct ones, so rows without a name take the
        "each" form.
        """
        return phrases if self.named else f"{phrases}_each"

    @property
    def slots(self) -> dict[str, str]:
        """{cols} in the singular, {colss} in the plural."""
        return {"cols": listing(self.labels), "colss": listing(self.plurals)}


T = TypeVar("T")
ORDERED = ("amount", "year", "date")
NUMBERS = ("amount",)
SHOWABLE = ("category", *ORDERED)  # neither names nor references
AGGREGATES = {
    "AVG": ("average", "mean"),
    "MAX": ("highest", "maximum"),
    "MIN": ("lowest", "minimum"),
    "SUM": ("total",),
}
NAMED = 0.6  # of questions show the name of the row first
BETWEEN = 0.12  # of comparisons


@dataclass(frozen=True)
class Condition:
    """A test on one column, and how a person says it after the noun."""

    column: Column
    test: str
    text: str

    def on(self, alias: str = "") -> str:
        """`alias` is empty or ends in a dot."""
        return f"{alias}{self.column.name} {self.test}"


@dataclass(frozen=True)
class Relation:
    """A child table (T1 in joins), its referring column, and the parent table (T2)."""

    child: Table
    column: Column
    parent: Table

    @property
    def joined(self) -> str:
        return f"FROM {self.child.name} AS T1 JOIN {self.parent.name} AS T2 ON {self.link}"

    @property
    def link(self) -> str:
        return f"T1.{self.column.name} = T2.{self.parent.key}"


@dataclass(frozen=True)
class Measure:
    """An aggregate over a column and its words, for example "average price"."""

    function: str
    column: Column
    text: str

    def on(self, alias: str = "") -> str:
        return f"{self.function}({alias}{self.column.name})"


class Draw:
    """Seeded choices over one database. Every method raises NoFit where the database has nothing that fits.

    `domain` is its domain in one of its wordings: the same columns and tables, some by another word.
    """

    def __init__(self, database: DomainDatabase, rng: Random) -> None:
        self.database = database
        self.rng = rng
        self.domain: Domain = rng.choice(database.wordings)

    def pick(self, options: Sequence[T]) -> T:
        if not options:
            raise NoFit
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def table(self) -> Table:
        """A random table. Tables with more columns come more often, because they allow more questions."""
        tables = self.domain.tables
        return self.rng.choices(tables, [len(table.columns) for table in tables])[0]

    def named(self) -> Table:
        return self.pick([table for table in self.domain.tables if table.title])

    def column(self, table: Table, kinds: Sequence[str], skip: Sequence[Column] = ()) -> Column:
        """A column of one of the kinds, without NULLs."""
        return self.pick([c for c in table.columns if c.kind in kinds and c not in skip and not c.missing])

    def relation(self) -> Relation:
        """A child with one of its parents whose rows have names."""
        found = [
            Relation(child, column, self.domain.table(column.ref))
            for child in self.domain.tables
            for column in child.columns
            if column.ref and self.domain.table(column.ref).title
        ]
        return self.pick(found)

    def shown(
        self, table: Table, least: int = 1, most: int = 0, *, named: bool = False, skip: Sequence[Column] = ()
    ) -> ShownColumns:
        """From `least` to `most` columns of a row, its name first or, unless `named`, others alone."""
        wanted = self.rng.randint(least, max(least, most))
        others = [(c.name, c.label, c.labels) for c in table.columns if c.kind in SHOWABLE and c not in skip]
        # A row without a title column goes by its key.
        title, label = title_of(table)
        if not named and len(others) >= wanted and not self.chance(NAMED):
            return ShownColumns.of(self.rng.sample(others, wanted), named=False)
        if len(others) < wanted - 1:
            raise NoFit
        return ShownColumns.of([(title, label, plural(label)), *self.rng.sample(others, wanted - 1)])

    def condition(self, table: Table, skip: Sequence[Column] = (), foreign: Table | None = None) -> Condition:
        """A test that keeps some rows, not all. Labels that `foreign` has too are left out, because they would be
        unclear.
        """
        taken = {column.label for column in foreign.columns} if foreign else set()
        options = [
            column
            for column in table.columns
            if column.kind in SHOWABLE and column not in skip and (column.kind in ORDERED or not column.missing)
        ]
        column = self.pick([option for option in options if option.label not in taken])
        return self.equality(column) if column.kind == "category" else self.comparison(column)

    def two_conditions(self, table: Table, skip: Sequence[Column] = ()) -> tuple[Condition, Condition]:
        """Tests on two columns, in the order a person says them: a clause with "whose" comes last."""
        first = self.condition(table, skip=skip)
        second = self.condition(table, skip=[*skip, first.column])
        turned = first.text.startswith("whose") and not second.text.startswith("whose")
        return (second, first) if turned else (first, second)

    def equality(self, column: Column) -> Condition:
        # Sorted: the order of a set of texts differs from process to process.
        value = self.pick(sorted(set(map(str, self.database.values(column)))))
        return Condition(column, f"= {literal(value)}", self.category_text(column, value))

    def category_text(self, column: Column, value: str) -> str:
        if column.phrase and self.chance(0.6):
            return column.phrase.replace("_", value)
        plain = [f"whose {column.label} is {value}", f"with the {column.label} {value}"]
        # A list of values only fits after "is".
        return self.pick(plain if " or " not in value else plain[:1])

    def comparison(self, column: Column) -> Condition:
        """`column > value` and the like, keeping between one row and four fifths of them."""
        values = self.database.values(column)
        if self.chance(BETWEEN):
            return self.between(column)
        # Strict comparisons come twice as often.
        operator = self.rng.choice([">", ">", "<", "<", ">=", "<="])
        bound = self.pick(self.bounds(column, values))
        kept = sum(_holds(value, operator, bound) for value in values)
        if not 1 <= kept <= 0.8 * len(values):
            raise NoFit
        return Condition(column, f"{operator} {literal(bound)}", self.comparison_text(column, operator, bound))

    def between(self, column: Column) -> Condition:
        """`column BETWEEN low AND high`, both ends included, keeping some rows and not all."""
        values = self.database.values(column)
        bounds = self.bounds(column, values)
        if len(bounds) < 3:
            raise NoFit
        low, high = (bounds[place] for place in sorted(self.rng.sample(range(len(bounds)), 2)))
        kept = sum(_rank(low) <= _rank(value) <= _rank(high) for value in values)
        if not 1 <= kept <= 0.8 * len(values):
            raise NoFit
        phrase = self.pick(COMPARISONS[_words_for(column)]["between"])
        text = phrase.format(a=with_article(column.label), l=column.label, v=low, w=high)
        return Condition(column, f"BETWEEN {literal(low)} AND {literal(high)}", text)

    def bounds(self, column: Column, values: Sequence[Cell]) -> list[Cell]:
        """Bounds for a comparison: values that occur and, for wide ranges of integers, round numbers between them."""
        distinct = [plain(value) for value in sorted(set(values), key=_rank)]
        whole = [value for value in distinct if isinstance(value, int)]
        if column.kind != "amount" or not whole or not self.chance(0.6):
            return distinct
        # The widest step that fits at least eight times into the range.
        step = next((step for step in (1000, 100, 50, 10, 5) if whole[-1] - whole[0] >= 8 * step), 1)
        return list(range(whole[0] // step * step + step, whole[-1], step)) or distinct

    def comparison_text(self, column: Column, operator: str, bound: Cell) -> str:
        own = {">": column.more, "<": column.less}.get(operator)
        if own and self.chance(0.5):
            return own.replace("_", str(bound))
        phrase = self.pick(COMPARISONS[_words_for(column)][operator])
        return phrase.format(a=with_article(column.label), l=column.label, v=bound)

    def measure(self, table: Table) -> Measure:
        column = self.column(table, NUMBERS)
        # Averages come twice as often; totals only where the column can be summed.
        function = self.pick(["AVG", "AVG", "MAX", "MIN", *(["SUM"] if column.total else [])])
        return Measure(function, column, f"{self.pick(AGGREGATES[function])} {column.label}")

    def superlative(self, column: Column, descending: bool, one: str) -> str:
        adjective = column.high if descending else column.low
        if adjective and self.chance(0.6):
            return f"{adjective} {one}"
        return f"{one} with the {column.extremes[descending]} {column.label}"

    def bound_between(self, values: Sequence[float]) -> Cell:
        """A number between the values: some lie above it, some below, none on it."""
        ordered = sorted(values)
        place = self.pick(range(len(ordered) - 1))
        bound = plain(round((ordered[place] + ordered[place + 1]) / 2, 1 if ordered[-1] < 20 else None))
        # Equal neighbours have nothing between them, and rounding can hit a value.
        if not ordered[place] < float(bound or 0) < ordered[place + 1]:
            raise NoFit
        return bound


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


def category_slots(column: Column) -> dict[str, str]:
    return {"cat": column.label, "cats": column.labels}


def _words_for(column: Column) -> str:
    return "amount" if column.kind == "amount" else "year"


def _rank(value: Cell) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value or 0, "")


def plain(value: Cell) -> Cell:
    """26 for 26.0: nobody asks for a price above 26.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _holds(value: Cell, operator: str, bound: Cell) -> bool:
    if value == bound:
        return "=" in operator
    return (_rank(value) > _rank(bound)) == (operator[0] == ">")
