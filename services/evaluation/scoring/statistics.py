"""Statistics of paired, clustered scores. Pure; every random draw has a seed."""

from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

# Two-sided alpha of .05 with power .8: 1.96 + 0.84 standard errors.
SMALLEST_EFFECT_ERRORS = 2.8
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over questions with a 95 % percentile interval and a standard error, in the unit of the scores.

    `low`, `high` and `error` are None where there are fewer than two clusters.
    """

    mean: float
    low: float | None
    high: float | None
    error: float | None
    clusters: int

    def holds_zero(self) -> bool | None:
        """Whether the interval contains zero, ends included; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low <= 0.0 <= self.high

    def smallest_effect(self) -> float | None:
        """The smallest true mean found 8 times in 10: 2.8 standard errors; None where the error is 0."""
        return SMALLEST_EFFECT_ERRORS * self.error if self.error else None


def resampled_means(sums: Floats, counts: Floats, resamples: int, seed: int) -> Floats:
    """Means of `resamples` draws, with replacement, of as many clusters as there are; shape (resamples,).

    The mean is over the drawn questions, so a large cluster weighs by its size.
    """
    clusters = len(sums)
    # Multinomial counts equal drawing clusters one by one, for all resamples in one call.
    draws = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1.0 / clusters), size=resamples)
    return np.asarray((draws * sums).sum(axis=1) / (draws * counts).sum(axis=1), dtype=np.float64)


def clustered_mean(scores: dict[str, list[float]], resamples: int, seed: int) -> Estimate | None:
    """Mean of all scores with an interval by resampling clusters (name -> scores); None without scores.

    For a paired difference, pass the differences of the questions.
    """
    # Sorted by name, so that the order of the input does not change the draws.
    kept = [scores[name] for name in sorted(scores) if scores[name]]
    if not kept:
        return None
    sums = np.array([sum(values) for values in kept], dtype=np.float64)
    counts = np.array([len(values) for values in kept], dtype=np.float64)
    mean = float(sums.sum() / counts.sum())
    if len(kept) < 2:
        return Estimate(mean, None, None, None, len(kept))
    means = resampled_means(sums, counts, resamples, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean, float(low), float(high), float(means.std(ddof=1)), len(kept))


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided binomial p of `wins` against `losses` at one half; 1.0 without either."""
    discordant = wins + losses
    if not discordant:
        return 1.0
    tail = sum(comb(discordant, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**discordant))


def pass_at_k(samples: int, correct: int, k: int) -> float | None:
    """Chance that k of the samples, drawn without replacement, hold a correct one (Chen et al. 2021, unbiased).

    None for fewer samples than k.
    """
    if samples < k:
        return None
    return 1.0 - comb(samples - correct, k) / comb(samples, k)
