"""Two systems on the same questions: the paired difference, how sure it is, and where each won."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

RESAMPLES = 10_000
SEED = 20240611


@dataclass(frozen=True)
class PairedComparison:
    """`left` minus `right`, in the unit of the scores, over the questions that both have a score for.

    `low` and `high` bound the 95 % interval by resampling databases; None with fewer than two. `p_value` is McNemar's
    exact test of wins against losses. `won` and `lost` hold question indexes, rising.
    """

    questions: int
    databases: int
    difference: float
    low: float | None
    high: float | None
    standard_error: float | None
    p_value: float
    won: tuple[int, ...]
    lost: tuple[int, ...]
    conclusion: str


def compare_scores(
    left: Mapping[int, float | None],
    right: Mapping[int, float | None],
    databases: Mapping[int, str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedComparison | None:
    """Compares scores by question index; None where no question has both. The same seed gives the same interval.

    Raises KeyError where a question has no database.
    """
    # numpy is needed here and nowhere else in the benchmark's scores
    from services.evaluation.comparing import conclusion
    from services.evaluation.stats import clustered_mean, mcnemar_exact

    differences = paired_differences(left, right)
    groups: dict[str, list[float]] = defaultdict(list)
    for index, difference in differences.items():
        groups[databases[index]].append(difference)
    estimate = clustered_mean(groups, resamples, seed)
    if estimate is None:
        return None
    won = tuple(index for index, difference in differences.items() if difference > 0)
    lost = tuple(index for index, difference in differences.items() if difference < 0)
    return PairedComparison(
        questions=len(differences),
        databases=estimate.clusters,
        difference=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        standard_error=estimate.error,
        p_value=mcnemar_exact(len(won), len(lost)),
        won=won,
        lost=lost,
        conclusion=conclusion(estimate),
    )


def paired_differences(left: Mapping[int, float | None], right: Mapping[int, float | None]) -> dict[int, float]:
    """Index -> left minus right, indexes rising, where both have a score."""
    found: dict[int, float] = {}
    for index in sorted(left.keys() & right.keys()):
        one, other = left[index], right[index]
        if one is not None and other is not None:
            found[index] = one - other
    return found
