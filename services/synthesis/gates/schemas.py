"""What of a schema is compared: names without their spelling, and the form that is left when all names are changed."""

import re
from dataclasses import dataclass
from typing import TypeVar

from shared.catalog.databases import SchemaCard
from shared.sql.english import stem

T = TypeVar("T")
LEAST_COLUMNS = 5
NEAR = 0.6
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
KINDS = (("INT", "i"), ("CHAR", "t"), ("TEXT", "t"), ("REAL", "n"), ("FLOA", "n"), ("DOUB", "n"), ("NUM", "n"))


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """`columns`: names in lower case without blanks and underscores. `words`: lemmas of all names.

    `form`: for each table how many columns of which kind, keys and foreign keys, sorted: names play no part in it.
    `size`: how many columns there are.
    """

    columns: frozenset[str]
    words: frozenset[str]
    form: str
    size: int = 0

    def near(self, other: "SchemaFacts") -> bool:
        """Whether two schemas are copies, whatever their tables are called."""
        if min(len(self.columns), len(other.columns)) < LEAST_COLUMNS:
            return False
        return jaccard(self.columns, other.columns) >= NEAR


NO_SCHEMA = SchemaFacts(frozenset(), frozenset(), "")


def jaccard(one: frozenset[T], other: frozenset[T]) -> float:
    """Shared of all; 1 for two empty sets."""
    shared = len(one & other)
    total = len(one) + len(other) - shared
    return shared / total if total else 1.0


def facts(card: SchemaCard) -> SchemaFacts:
    """The facts of one card."""
    names = [column.name for table in card.tables for column in table.columns]
    every = [*names, *(table.name for table in card.tables)]
    forms = []
    for table in card.tables:
        kinds = sorted(kind_of(column.type) + "k" * column.primary_key for column in table.columns)
        forms.append(f"{''.join(kinds)}>{len(table.foreign_keys)}")
    return SchemaFacts(
        columns=frozenset(re.sub(r"[\s_]+", "", name.lower()) for name in names),
        words=frozenset(stem(part.lower()) for name in every for part in PART.findall(name)),
        form=" ".join(sorted(forms)),
        size=len(names),
    )


def kind_of(declared: str) -> str:
    """One letter for a declared type."""
    return next((letter for part, letter in KINDS if part in declared.upper()), "o")
