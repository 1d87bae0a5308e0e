"""Soft-F1 of mini_dev (evaluation_f1.py): partial credit for cells, on rows that are given."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from services.evaluation.benchmark.mode import Mode

Row: TypeAlias = tuple[object, ...]


class Cells(NamedTuple):
    """Cells of one pair of rows as shares of the gold row: in both, in the prediction only, in the gold only."""

    both: float
    pred_only: float
    gold_only: float


GOLD_ALONE = Cells(0, 0, 1)
PRED_ALONE = Cells(0, 1, 0)


def soft_f1(pred: Iterable[Sequence[object]], gold: Iterable[Sequence[object]], mode: Mode = "official") -> float:
    """F1 of the cells, 0 to 1; two empty results give 1.

    Officially duplicate rows are dropped, and rows are compared by their place, so one row too many in front costs all
    that follow; a cell counts as often as the prediction repeats it. Strict mode keeps duplicates, pairs equal rows
    first and the rest by place, and uses each cell once.
    """
    pred_rows, gold_rows = list(map(tuple, pred)), list(map(tuple, gold))
    if mode == "strict":
        pairs = strict_pairs(pred_rows, gold_rows)
    else:
        pairs = by_place(list(dict.fromkeys(pred_rows)), list(dict.fromkeys(gold_rows)))
    return f1_of([cells_of(one, other, mode) for one, other in pairs])


def by_place(pred: Sequence[Row], gold: Sequence[Row]) -> list[tuple[Row | None, Row | None]]:
    """Rows at the same place; None where one side has no more."""
    longest = max(len(pred), len(gold))
    padded_pred = [*pred, *[None] * (longest - len(pred))]
    padded_gold = [*gold, *[None] * (longest - len(gold))]
    return list(zip(padded_pred, padded_gold, strict=True))


def strict_pairs(pred: Sequence[Row], gold: Sequence[Row]) -> list[tuple[Row | None, Row | None]]:
    """Equal rows first, then what is left by place."""
    common = Counter(pred) & Counter(gold)
    pairs: list[tuple[Row | None, Row | None]] = [(row, row) for row in common.elements()]
    return pairs + by_place(without(pred, common), without(gold, common))


def without(rows: Sequence[Row], taken: Counter[Row]) -> list[Row]:
    """`rows` in order, less each taken row as often as it was taken."""
    left = Counter(taken)
    kept = []
    for row in rows:
        if left[row] > 0:
            left[row] -= 1
        else:
            kept.append(row)
    return kept


def cells_of(pred: Row | None, gold: Row | None, mode: Mode) -> Cells:
    """The cells of one pair; a row without a partner counts as one whole."""
    if pred is None:
        return GOLD_ALONE
    if gold is None:
        return PRED_ALONE
    both, pred_only, gold_only = counted_cells(pred, gold) if mode == "strict" else member_cells(pred, gold)
    return Cells(both / len(gold), pred_only / len(gold), gold_only / len(gold))


def member_cells(pred: Row, gold: Row) -> tuple[int, int, int]:
    """Cells that occur anywhere in the other row; a repeated cell counts each time."""
    both = sum(value in gold for value in pred)
    return both, len(pred) - both, sum(value not in pred for value in gold)


def counted_cells(pred: Row, gold: Row) -> tuple[int, int, int]:
    """Cells with each used once."""
    both = (Counter(pred) & Counter(gold)).total()
    return both, len(pred) - both, len(gold) - both


def f1_of(cells: Sequence[Cells]) -> float:
    """The harmonic mean of precision and recall over all pairs."""
    if not cells:
        return 1.0
    both, pred_only, gold_only = (sum(column) for column in zip(*cells, strict=True))
    precision = both / (both + pred_only) if both + pred_only > 0 else 0.0
    recall = both / (both + gold_only) if both + gold_only > 0 else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
