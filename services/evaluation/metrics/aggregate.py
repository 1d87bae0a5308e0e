"""Scores of many questions: in all, by hardness, database and feature, and what the golds allow."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.evaluation.metrics.failures import Failure
from shared.contracts.records import Outcome, Verdict
from shared.sql.features import FEATURES

METRICS = ("ex", "ts", "em", "ves", "rves", "f1")
LEVELS = ("easy", "medium", "hard", "extra", "beyond_spider", "simple", "moderate", "challenging")
GOLD_FAILURES = (Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT)


@dataclass(frozen=True)
class QuestionRow:
    """One scored question. Scores are None where the metric was not asked for.

    `ex`, `ts` and `em` are 0 or 1, `f1` is 0 to 1, `ves` and `rves` are the question's points (100 for as fast as the
    gold). `gold_empty`: the gold ran and gave no row.
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
    failure: Failure = Failure.OTHER
    features: frozenset[str] = frozenset()
    gold_empty: bool = False


@dataclass(frozen=True)
class GroupScore:
    """Questions of a group and the mean of each metric that any of them has; a question without it does not count."""

    questions: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """All of it. `ceiling` is the share of questions whose gold ran: no prediction can score above it.

    `ex_gold_not_empty` leaves out the questions whose gold is empty, where any empty result is right; None without EX.
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
    """The summary of a run. Groups come in a fixed order; without questions the ceiling is 0."""
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
    """The means over `rows`."""
    scores: dict[str, float] = {}
    for metric in METRICS:
        values = [value for row in rows if (value := getattr(row, metric)) is not None]
        if values:
            scores[metric] = sum(values) / len(values)
    return GroupScore(len(rows), scores)


def grouped(
    rows: Iterable[QuestionRow], names_of: Callable[[QuestionRow], Iterable[str]], order: Sequence[str]
) -> dict[str, GroupScore]:
    """Group -> score; a row may stand in several. Groups in `order` come first, others by name."""
    groups: dict[str, list[QuestionRow]] = defaultdict(list)
    for row in rows:
        for name in names_of(row):
            groups[name].append(row)
    names = [name for name in order if name in groups] + sorted(groups.keys() - set(order))
    return {name: group_score(groups[name]) for name in names}


def counts(names: Iterable[str]) -> dict[str, int]:
    """Name -> how often, the most frequent first, then by name."""
    return dict(sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0])))
