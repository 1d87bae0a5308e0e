"""Scores of many questions: overall, by hardness, database and feature, and what the golds allow."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.evaluation.metrics.failures import FailureCause
from shared.contracts.records import Outcome, Verdict
from shared.sql.features import FEATURES

# Raised whenever a rule of scoring changes (docs/decisions/0009).
METRIC_VERSION = "sense-benchmark/1"
METRICS = ("ex", "ts", "em", "ves", "rves", "f1")
BEYOND_SPIDER = "beyond_spider"  # the official parser cannot read the gold
LEVELS = ("easy", "medium", "hard", "extra", BEYOND_SPIDER, "simple", "moderate", "challenging")
GOLD_FAILURES = (Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT)


@dataclass(frozen=True)
class QuestionRow:
    """One scored question; a score is None where its metric was not chosen.

    `ex`, `ts` and `em` are 0 or 1, `f1` is 0 to 1; `ves` and `rves` are points (100: as fast as the gold).
    `gold_empty`: the gold runs and gives no row.
    """

    index: int
    db_id: str
    hardness: str
    verdict: Verdict
    outcome: Outcome | None = None
    ex: float | None = None
    em: float | None = None
    ts: float | None = None
    ves: float | None = None
    rves: float | None = None
    f1: float | None = None
    failure: FailureCause = FailureCause.OTHER
    features: frozenset[str] = frozenset()
    gold_empty: bool = False


@dataclass(frozen=True)
class GroupScore:
    """The mean of each metric over the questions of a group that have it."""

    questions: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """`ceiling` is the share of questions whose gold runs: no prediction can score above it.

    `ex_gold_not_empty` leaves out the questions with an empty gold, where any empty result is right; None without EX.
    """

    overall: GroupScore
    by_hardness: dict[str, GroupScore]
    by_feature: dict[str, GroupScore]
    by_database: dict[str, GroupScore]
    verdicts: dict[str, int]
    outcomes: dict[str, int]
    failures: dict[str, int]
    golds_failed: tuple[int, ...]
    golds_empty: int
    ceiling: float
    ex_gold_not_empty: float | None


def summarise(rows: Iterable[QuestionRow]) -> Summary:
    """Groups come in a fixed order. Without questions the ceiling is 0."""
    found = list(rows)
    failed = tuple(sorted(row.index for row in found if row.verdict in GOLD_FAILURES))
    filled = group_score([row for row in found if not row.gold_empty])
    return Summary(
        overall=group_score(found),
        by_hardness=grouped(found, lambda row: (row.hardness,), LEVELS),
        by_feature=grouped(found, lambda row: row.features or ("none",), FEATURES),
        by_database=grouped(found, lambda row: (row.db_id,), ()),
        verdicts=counts(row.verdict.value for row in found),
        outcomes=counts(row.outcome.value for row in found if row.outcome is not None),
        failures=counts(row.failure.value for row in found),
        golds_failed=failed,
        golds_empty=sum(row.gold_empty for row in found),
        ceiling=1 - len(failed) / len(found) if found else 0.0,
        ex_gold_not_empty=filled.scores.get("ex"),
    )


def group_score(rows: Sequence[QuestionRow]) -> GroupScore:
    scores: dict[str, float] = {}
    for metric in METRICS:
        values = [value for row in rows if (value := getattr(row, metric)) is not None]
        if values:
            scores[metric] = sum(values) / len(values)
    return GroupScore(len(rows), scores)


def grouped(
    rows: Iterable[QuestionRow], names_of: Callable[[QuestionRow], Iterable[str]], order: Sequence[str]
) -> dict[str, GroupScore]:
    """Group -> score. A question may be in several; groups of `order` come first, others by name."""
    groups: dict[str, list[QuestionRow]] = defaultdict(list)
    for row in rows:
        for name in names_of(row):
            groups[name].append(row)
    names = [name for name in order if name in groups] + sorted(groups.keys() - set(order))
    return {name: group_score(groups[name]) for name in names}


def counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0])))
