"""Domains as typed data (tables, columns, how their values are generated), and the English to speak of them."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.records import Split
from shared.errors import InvalidInputError

DATA = Path(__file__).parent / "data"
FILES: dict[str, tuple[str, ...]] = {
    "train": ("train_a.yaml", "train_b.yaml", "train_c.yaml", "train_d.yaml"),
    "selection": ("selection.yaml",),
    "test": ("test.yaml",),
}
MAX_WORDINGS = 3  # the first is the domain as described
Kind = Literal["title", "category", "amount", "year", "date", "ref"]


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Column(Spec):
    """A column; exactly one of the value fields (people, words, pick, whole, real, year, date, ref) is set.

    `words` are unique values, `pick` values that repeat, both separated by `|`; ranges are written `low..high`.
    In `is`, `more` and `less` an underscore stands for the value. `also` holds other words for the label.
    """

    name: str
    table: str
    label: str
    labels: str
    people: bool = False
    words: str | None = None
    pick: str | None = None
    whole: str | None = None
    real: str | None = None
    year: str | None = None
    date: str | None = None
    ref: str | None = None
    of: str = "of"
    has: str = "have"
    phrase: str | None = Field(default=None, alias="is")
    more: str | None = None
    less: str | None = None
    high: str | None = None
    low: str | None = None
    total: bool = False
    missing: float = 0.0
    step: float = 1
    also: str | None = None

    @property
    def kind(self) -> Kind:
        """What the column is for; the first title column names its rows."""
        if self.ref:
            return "ref"
        if self.people or self.words:
            return "title"
        if self.pick:
            return "category"
        if self.date:
            return "date"
        return "year" if self.year else "amount"

    @property
    def sql_type(self) -> str:
        if self.real:
            return "REAL"
        return "INTEGER" if self.ref or self.whole or self.year else "TEXT"

    @property
    def extremes(self) -> tuple[str, str]:
        return ("lowest", "highest") if self.kind == "amount" else ("earliest", "latest")


class Table(Spec):
    """A table with its nouns; `who` is set where its rows are people, `also` holds other nouns."""

    name: str
    one: str
    many: str
    rows: int
    key: str
    who: bool = False
    also: str | None = None
    columns: tuple[Column, ...]

    @property
    def title(self) -> Column | None:
        return next((column for column in self.columns if column.kind == "title"), None)


class Domain(Spec):
    name: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    def ddl(self, table: Table) -> str:
        declared = [f"{table.key} INTEGER PRIMARY KEY"]
        for column in table.columns:
            reference = f" REFERENCES {column.ref}({self.table(column.ref).key})" if column.ref else ""
            declared.append(f"{column.name} {column.sql_type}{reference}")
        return f"CREATE TABLE {table.name} ({', '.join(declared)})"


@lru_cache(maxsize=8)
def load_domains(split: Split) -> tuple[Domain, ...]:
    """All domains of a split, in file order.

    Raises InvalidInputError for a split that the grammar does not write.
    """
    if split not in FILES:
        raise InvalidInputError(f"The grammar writes no split {split!r}: choose one of {', '.join(FILES)}.")
    domains = []
    for file in FILES[split]:
        described = yaml.safe_load((DATA / file).read_text(encoding="utf-8"))
        for name, tables in described.items():
            domains.append(Domain(name=name, tables=tuple(_table(table, fields) for table, fields in tables.items())))
    return tuple(domains)


def _table(name: str, fields: dict[str, Any]) -> Table:
    columns = []
    for column, given in fields.items():
        # `about` describes the table, every other key a column.
        if column != "about":
            label = given.get("label", column.replace("_", " "))
            names = {"name": column, "table": name, "labels": plural(label)}
            # What the file gives replaces the defaults.
            columns.append(Column.model_validate({**names, **given, "label": label}))
    one = fields["about"].get("one", name.replace("_", " "))
    names = {"name": name, "one": one, "many": plural(one), "key": f"{name}_id"}
    return Table.model_validate({**names, "columns": tuple(columns), **fields["about"]})


@lru_cache(maxsize=256)
def wordings(domain: Domain) -> tuple[Domain, ...]:
    """The domain as described, then with the other words of its tables and columns, where it has any."""
    found = [domain]
    for place in range(MAX_WORDINGS - 1):
        tables = tuple(_reworded(table, place) for table in domain.tables)
        other = domain.model_copy(update={"tables": tables})
        if other not in found:
            found.append(other)
    return tuple(found)


def _reworded(table: Table, place: int) -> Table:
    """The table in the other words of that place; a single other word stands at every place."""

    def other(also: str | None) -> str | None:
        words = [word.strip() for word in also.split("|")] if also else []
        return words[place % len(words)] if words else None

    noun = other(table.also)
    words = {"one": noun, "many": plural(noun)} if noun else {}
    columns = []
    for column in table.columns:
        label = other(column.also)
        columns.append(column.model_copy(update={"label": label, "labels": plural(label)}) if label else column)
    return table.model_copy(update={**words, "columns": tuple(columns)})


# ---- English ----

# Beginnings of words. Sounds decide, not letters: an hour, a unit.
VOWEL_SOUNDS = ("a", "e", "i", "o", "u", "hour", "honor")
CONSONANT_SOUNDS = ("unit", "uni", "use", "one", "eu", "ut")
RANGES = ("with {a} between {v} and {w}", "whose {l} is between {v} and {w}", "whose {l} lies from {v} to {w}")
# {a} is the label with its article, {l} the label, {v} and {w} are values.
COMPARISONS: dict[str, dict[str, tuple[str, ...]]] = {
    "amount": {
        ">": (
            *("with {a} above {v}", "whose {l} is greater than {v}", "with {a} over {v}"),
            *("whose {l} is more than {v}", "with {a} higher than {v}"),
        ),
        "<": (
            *("with {a} below {v}", "whose {l} is less than {v}"),
            *("with {a} under {v}", "whose {l} is lower than {v}"),
        ),
        ">=": ("with {a} of at least {v}", "whose {l} is at least {v}", "with {a} of {v} or more"),
        "<=": ("with {a} of at most {v}", "whose {l} is no more than {v}", "with {a} of {v} or less"),
        "between": RANGES,
    },
    "year": {
        ">": ("with {a} after {v}", "whose {l} is after {v}", "whose {l} is later than {v}"),
        "<": ("with {a} before {v}", "whose {l} is before {v}", "whose {l} is earlier than {v}"),
        ">=": ("with {a} of {v} or later", "whose {l} is {v} or later"),
        "<=": ("with {a} of {v} or earlier", "whose {l} is {v} or earlier"),
        "between": RANGES,
    },
}


def plural(noun: str) -> str:
    """The plural of a noun phrase; the word before "of", "in" or "per" changes, otherwise the last one."""
    for joint in (" of ", " in ", " per "):
        if joint in noun:
            head, tail = noun.split(joint, 1)
            return plural(head) + joint + tail
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "ch", "sh", "z")):
        return noun + "es"
    return noun + "s"


def with_article(noun: str) -> str:
    vowel = noun.startswith(VOWEL_SOUNDS) and not noun.startswith(CONSONANT_SOUNDS)
    return f"{'an' if vowel else 'a'} {noun}"


def listing(words: Sequence[str], last: str = "and") -> str:
    """Words as a person lists them: "a", "a and b", "a, b and c"."""
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def third_person(verb: str) -> str:
    first, _, rest = verb.partition(" ")
    if first == "have":
        inflected = "has"
    elif first.endswith(("s", "x", "ch", "sh", "o")):
        inflected = first + "es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        inflected = first[:-1] + "ies"
    else:
        inflected = first + "s"
    return f"{inflected} {rest}".strip()


def sentence(text: str) -> str:
    """One space between words, a capital at the start."""
    flat = " ".join(text.split())
    return flat[:1].upper() + flat[1:]
