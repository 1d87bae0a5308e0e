"""Cells as they lie in SQLite, their order, and numbers that chance gives for a name."""

import re
from dataclasses import dataclass
from random import Random
from typing import Any

NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
NUMERIC = frozenset({"INTEGER", "REAL", "NUMERIC"})


@dataclass(frozen=True)
class RawText:
    """Text whose bytes are not valid in the database's encoding; it is copied, never changed."""

    data: bytes


Value = None | int | float | str | bytes | RawText
Row = tuple[Value, ...]


def stream(*names: object) -> Random:
    """Chance of its own for a name: the same on every machine, whatever else was drawn (Random hashes text itself)."""
    return Random("/".join(repr(name) for name in names))


def order(value: Value) -> tuple[Any, ...]:
    """A total order over cells: NULL, numbers, text, blobs, raw text."""
    if value is None:
        return (0,)
    if isinstance(value, int | float):
        return (1, value, isinstance(value, float))
    if isinstance(value, str):
        return (2, value)
    return (3, value) if isinstance(value, bytes) else (4, value.data)


def number_in(text: str) -> int | float | None:
    """The number that a whole text is to a column of numeric affinity, or None."""
    if len(text) > 100 or not NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def folded(value: Value, affinity: str, collation: str) -> Value:
    """The form under which a key column compares: its affinity and collation applied."""
    if isinstance(value, str):
        found = number_in(value) if affinity in NUMERIC else None
        if found is not None:
            return found
        if collation.upper() == "NOCASE":
            return "".join(c.lower() if c.isascii() else c for c in value)
        return value.rstrip(" ") if collation.upper() == "RTRIM" else value
    if affinity == "TEXT" and isinstance(value, int | float):
        return str(value)
    return value


def size(row: Row) -> int:
    """About how many bytes a row takes."""
    return sum(len(v) if isinstance(v, str | bytes) else len(v.data) if isinstance(v, RawText) else 8 for v in row)
