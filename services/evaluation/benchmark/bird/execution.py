"""BIRD's execution accuracy on given rows (evaluation.py of DAMO-ConvAI's bird, evaluation_ex.py of mini_dev)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TypeAlias

from services.evaluation.benchmark.mode import Mode

Row: TypeAlias = Sequence[object]


class RowFix(StrEnum):
    """What the official rule lets pass, one name each."""

    # The same row twice is the same as once.
    DUPLICATES = "duplicates"
    # Two empty results are equal whatever their columns.
    EMPTY_COLUMNS = "empty_columns"


def same_rows(pred: Iterable[Row], gold: Iterable[Row], mode: Mode = "official") -> int:
    """1 where both have the same set of rows, else 0.

    Officially row order and duplicates do not matter, column order does, and 1 equals 1.0. Strict mode counts
    duplicates; give it rows that keep their columns' order.
    """
    pred_rows, gold_rows = list(map(tuple, pred)), list(map(tuple, gold))
    if mode == "strict":
        return int(Counter(pred_rows) == Counter(gold_rows))
    return int(set(pred_rows) == set(gold_rows))


def same_results(pred: Iterable[Row], gold: Iterable[Row], columns: tuple[int, int], mode: Mode = "official") -> int:
    """As `same_rows`, with the two results' numbers of columns (prediction, gold): strict mode compares them too."""
    return int((mode == "official" or columns[0] == columns[1]) and same_rows(pred, gold, mode))


def row_fixes_that_change(pred: Sequence[Row], gold: Sequence[Row], columns: tuple[int, int]) -> tuple[RowFix, ...]:
    """The fixes each of which alone turns the official verdict."""
    if not same_rows(pred, gold):
        return ()
    found = []
    if not same_rows(pred, gold, "strict"):
        found.append(RowFix.DUPLICATES)
    if columns[0] != columns[1]:
        found.append(RowFix.EMPTY_COLUMNS)
    return tuple(found)
