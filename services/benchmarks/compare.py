"""Two systems on the same questions: the paired difference, its interval, and where each wins."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.benchmarks.prediction_files import read_per_question
from services.benchmarks.results import POINTS, TITLES
from services.evaluation.metrics.aggregate import METRICS
from shared.errors import InvalidInputError

RESAMPLES = 10_000
SEED = 20240611
SHOWN = 20


@dataclass(frozen=True)
class PairedComparison:
    """`left` minus `right` over the questions that both have a score for, in the unit of the scores.

    `low` and `high` bound the 95 % interval by resampling databases; None with fewer than two. `p_value` is McNemar's
    exact test of wins against losses. `won` and `lost` are question indexes in order.
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
    """Compares scores by question index; None where no question has both. Equal seeds give equal intervals.

    Raises KeyError where a question has no database.
    """
    # Late: they bring numpy, which no other score needs.
    from services.evaluation.scoring.comparisons import conclusion
    from services.evaluation.scoring.statistics import clustered_mean, mcnemar_exact

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
    found: dict[int, float] = {}
    for index in sorted(left.keys() & right.keys()):
        one, other = left[index], right[index]
        if one is not None and other is not None:
            found[index] = one - other
    return found


@dataclass(frozen=True)
class FileComparison:
    """The comparison of one metric; scores are means over the common questions."""

    left: str
    right: str
    metric: str
    left_score: float
    right_score: float
    paired: PairedComparison

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_files(left: Path, right: Path, metric: str) -> FileComparison:
    """Raises InvalidInputError where the files have other golds or lack the metric."""
    if metric not in METRICS:
        raise InvalidInputError(f"no metric is called {metric!r}; known are {', '.join(METRICS)}")
    first, second = ({int(str(row["index"])): row for row in read_per_question(path)} for path in (left, right))
    check_same_golds(first, second, left, right)
    scores = [{index: number(row.get(metric)) for index, row in rows.items()} for rows in (first, second)]
    databases = {index: str(row["db_id"]) for index, row in (first | second).items()}
    paired = compare_scores(scores[0], scores[1], databases)
    if paired is None:
        raise InvalidInputError(f"no question has a score {metric!r} in both files; evaluate both with that metric")
    # Means over common questions only, so that they match the paired difference.
    both = [i for i in scores[0] if scores[0][i] is not None and scores[1].get(i) is not None]
    means = [sum(one[index] or 0.0 for index in both) / len(both) for one in scores]
    return FileComparison(left.name, right.name, metric, means[0], means[1], paired)


def number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def check_same_golds(
    first: dict[int, dict[str, Any]], second: dict[int, dict[str, Any]], left: Path, right: Path
) -> None:
    """Raises InvalidInputError where the gold of a question differs."""
    for index in sorted(first.keys() & second.keys()):
        if first[index].get("gold") != second[index].get("gold"):
            raise InvalidInputError(
                f"question {index} has another gold in {left.name} than in {right.name}; compare files over equal golds"
            )


def comparison_text(found: FileComparison) -> str:
    paired, scale = found.paired, 1 if found.metric in POINTS else 100
    interval = (
        ""
        if paired.low is None or paired.high is None
        else (
            f", 95 % interval [{scale * paired.low:+.2f}, {scale * paired.high:+.2f}] over {paired.databases} databases"
        )
    )
    lines = [
        f"{TITLES[found.metric]}: {found.left} {scale * found.left_score:.2f}, "
        f"{found.right} {scale * found.right_score:.2f} over {paired.questions} questions.",
        f"Difference {scale * paired.difference:+.2f}{interval}: {paired.conclusion}.",
        f"{len(paired.won)} won, {len(paired.lost)} lost, McNemar's exact p = {paired.p_value:.4f}.",
        f"Won:  {listed(paired.won)}",
        f"Lost: {listed(paired.lost)}",
    ]
    return "\n".join(lines) + "\n"


def listed(indexes: tuple[int, ...]) -> str:
    return ", ".join(map(str, indexes[:SHOWN])) + (", …" if len(indexes) > SHOWN else "") if indexes else "none"
