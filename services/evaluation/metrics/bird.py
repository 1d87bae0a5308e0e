"""BIRD's metrics: Soft-F1 (evaluation_f1.py of mini_dev), VES (evaluation_ves.py of BIRD) and R-VES (mini_dev's)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import NamedTuple, TypeAlias

from services.evaluation.metrics.quirks import Mode
from shared.errors import InvalidInputError

Row: TypeAlias = tuple[object, ...]


class Cells(NamedTuple):
    """Cells of a pair of rows, as shares of the gold row: in both, in the prediction only, in the gold only."""

    both: float
    pred_only: float
    gold_only: float


GOLD_ALONE = Cells(0, 0, 1)
PRED_ALONE = Cells(0, 1, 0)


def soft_f1(pred: Iterable[Sequence[object]], gold: Iterable[Sequence[object]], mode: Mode = "official") -> float:
    """F1 of the cells, 0 to 1; two empty results give 1.

    Officially, duplicate rows are dropped and rows compared by position, so that one surplus row at the top costs all
    that follow; a cell counts as often as the prediction repeats it. Strict mode keeps duplicates, pairs equal rows
    first and the rest by position, and uses each cell once.
    """
    pred_rows, gold_rows = list(map(tuple, pred)), list(map(tuple, gold))
    if mode == "strict":
        pairs = strict_pairs(pred_rows, gold_rows)
    else:
        pairs = by_place(list(dict.fromkeys(pred_rows)), list(dict.fromkeys(gold_rows)))
    return f1_of([cells_of(one, other, mode) for one, other in pairs])


def by_place(pred: Sequence[Row], gold: Sequence[Row]) -> list[tuple[Row | None, Row | None]]:
    longest = max(len(pred), len(gold))
    padded_pred = [*pred, *[None] * (longest - len(pred))]
    padded_gold = [*gold, *[None] * (longest - len(gold))]
    return list(zip(padded_pred, padded_gold, strict=True))


def strict_pairs(pred: Sequence[Row], gold: Sequence[Row]) -> list[tuple[Row | None, Row | None]]:
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
    """A row without a partner counts as one whole."""
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
    both = (Counter(pred) & Counter(gold)).total()
    return both, len(pred) - both, len(gold) - both


def f1_of(cells: Sequence[Cells]) -> float:
    if not cells:
        return 1.0
    both, pred_only, gold_only = (sum(column) for column in zip(*cells, strict=True))
    precision = both / (both + pred_only) if both + pred_only > 0 else 0.0
    recall = both / (both + gold_only) if both + gold_only > 0 else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


ITERATIONS = 100  # runs of each SQL, officially
# (least ratio of the gold's time to the prediction's, reward); below all of them SMALLEST_REWARD.
REWARDS = ((2.0, 1.25), (1.0, 1.0), (0.5, 0.75), (0.25, 0.5))
SMALLEST_REWARD = 0.25


def time_ratio(gold_times: Sequence[float], pred_times: Sequence[float], mode: Mode = "official") -> float:
    """Mean of gold time / prediction time, run by run, without values beyond three deviations; 0 without any.

    Officially, equal ratios leave the outlier filter with none, and the right answer scores 0. A run of no time makes
    the official evaluator fail; here the ratio is 0. Raises InvalidInputError for lists of different lengths.
    """
    if len(gold_times) != len(pred_times):
        raise InvalidInputError(f"{len(gold_times)} gold times for {len(pred_times)} predicted ones; time both alike")
    if not gold_times or not all(pred_times):
        return 0.0
    ratios = [gold / pred for gold, pred in zip(gold_times, pred_times, strict=True)]
    kept = without_outliers(ratios)
    if not kept and mode == "strict":
        kept = ratios
    return sum(kept) / len(kept) if kept else 0.0


def without_outliers(values: Sequence[float]) -> list[float]:
    """Values strictly within three population deviations of the mean: none where all are equal."""
    import numpy as np  # numpy, for the official rounding

    mean, deviation = float(np.mean(values)), float(np.std(values))
    return [value for value in values if mean - 3 * deviation < value < mean + 3 * deviation]


def reward(ratio: float) -> float:
    """R-VES's reward; a ratio of 0 stands for a wrong answer."""
    if ratio == 0:
        return 0.0
    return next((worth for least, worth in REWARDS if ratio >= least), SMALLEST_REWARD)


def ves_of(ratio: float) -> float:
    return 100 * sqrt(ratio)


def rves_of(ratio: float) -> float:
    """At most 111.8 points."""
    return 100 * sqrt(reward(ratio))
