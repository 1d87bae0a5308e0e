"""Functional dependencies between two columns of a table, as far as its rows are evidence for them."""

import math
from collections import Counter
from collections.abc import Sequence

from services.sandbox.neighbours.values import Row

SURE = math.log(0.01)  # how likely the repeats may agree by chance
REPEATS = 3
GLANCE = 48
MOST_COLUMNS = 60  # of one table; the work grows with the square


def dependencies(rows: Sequence[Row], skip: frozenset[int]) -> dict[int, tuple[int, ...]]:
    """For a column, the columns that determine it. Columns in `skip` (keys) are left out on both sides: what a key
    determines needs no care.

    A determinant must repeat, and so often that agreement by chance is unlikely given how often the values occur.
    """
    if len(rows) <= REPEATS:
        return {}
    width = len(rows[0])
    columns = [n for n in range(width) if n not in skip][:MOST_COLUMNS]
    codes = {n: encode([row[n] for row in rows]) for n in columns}
    distinct = {n: len(set(codes[n])) for n in columns}
    chance = {n: agreement(codes[n]) for n in columns}
    found: dict[int, list[int]] = {}
    for a in columns:
        repeats = sum(1 for code in codes[a] if code >= 0) - distinct[a]
        for b in columns:
            if a == b or distinct[b] < 2 or distinct[a] < distinct[b] or repeats < REPEATS:
                continue
            if repeats * chance[b] < SURE and determines(codes[a], codes[b]):
                found.setdefault(b, []).append(a)
    return {b: tuple(determinants) for b, determinants in found.items()}


def encode(cells: Sequence[object]) -> list[int]:
    """A number for each different cell; negative for NULL. Types count: 1 and 1.0 differ."""
    seen: dict[object, int] = {}
    return [-1 if cell is None else seen.setdefault((type(cell), cell), len(seen)) for cell in cells]


def agreement(codes: Sequence[int]) -> float:
    """Logarithm of the chance that two rows have the same cell."""
    total = len(codes)
    share = sum((n / total) ** 2 for n in Counter(codes).values())
    return math.log(share) if share < 1 else 0.0


def determines(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether equal cells of `a` (NULL aside) have equal cells of `b`; most pairs fail at a glance."""
    for size in (GLANCE, len(a)):
        pairs = {pair for pair in zip(a[:size], b[:size], strict=True) if pair[0] >= 0}
        if len({first for first, _ in pairs}) != len(pairs):
            return False
    return True
