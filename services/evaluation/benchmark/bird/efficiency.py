"""BIRD's efficiency scores from given times: VES (bird's evaluation_ves.py) and R-VES (mini_dev's)."""

from collections.abc import Sequence
from enum import StrEnum
from math import sqrt

from services.evaluation.benchmark.mode import Mode
from shared.errors import InvalidInputError

ITERATIONS = 100  # runs of each SQL, officially
# (least ratio of the gold's time to the prediction's, reward); below all of them SMALLEST_REWARD.
REWARDS = ((2.0, 1.25), (1.0, 1.0), (0.5, 0.75), (0.25, 0.5))
SMALLEST_REWARD = 0.25


class TimeFix(StrEnum):
    """What the official code gets wrong."""

    # Where all ratios are equal the outlier filter keeps none, and the right answer scores 0.
    EQUAL_RATIOS = "equal_ratios"


def time_ratio(gold_times: Sequence[float], pred_times: Sequence[float], mode: Mode = "official") -> float:
    """Mean of gold time / prediction time, run by run, without values beyond three deviations; 0 without any.

    Raises InvalidInputError for lists of different lengths. A run of no time makes the official code fail: ratio 0.
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
    """R-VES's reward for a ratio; 0 for a ratio of 0, which stands for a wrong answer."""
    if ratio == 0:
        return 0.0
    return next((worth for least, worth in REWARDS if ratio >= least), SMALLEST_REWARD)


def ves_of(ratio: float) -> float:
    """One question's VES: 100 times the root of its ratio."""
    return 100 * sqrt(ratio)


def rves_of(ratio: float) -> float:
    """One question's R-VES: 100 times the root of its reward, 111.8 at most."""
    return 100 * sqrt(reward(ratio))


def ves(ratios: Sequence[float]) -> float:
    """VES over all questions; wrong answers and timeouts have ratio 0. 0 without questions."""
    return sum(map(ves_of, ratios)) / len(ratios) if ratios else 0.0


def rves(ratios: Sequence[float]) -> float:
    """R-VES over all questions. 0 without questions."""
    return sum(map(rves_of, ratios)) / len(ratios) if ratios else 0.0
