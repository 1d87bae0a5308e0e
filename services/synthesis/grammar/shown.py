"""The columns that a question asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.synthesis.grammar.english import listing


@dataclass(frozen=True)
class Shown:
    """Columns with their labels; `named` where the first one names its row, so that no row is taken for another."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    plurals: tuple[str, ...]
    named: bool = True

    @classmethod
    def of(cls, columns: Sequence[tuple[str, str, str]], named: bool = True) -> "Shown":
        """From (name, label, plural label) of each column."""
        names, labels, plurals = zip(*columns, strict=True)
        return cls(names, labels, plurals, named)

    def sql(self, alias: str = "") -> str:
        """As a SELECT list; `alias` is empty or ends in a dot."""
        return ", ".join(alias + name for name in self.names)

    def form(self, phrases: str) -> str:
        """The phrases to use: "the colors of wines" could mean the different ones, so unnamed rows are asked singly."""
        return phrases if self.named else f"{phrases}_each"

    @property
    def slots(self) -> dict[str, str]:
        """{cols} in the singular, {colss} in the plural."""
        return {"cols": listing(self.labels), "colss": listing(self.plurals)}
