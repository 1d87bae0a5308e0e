"""An evaluation as one JSON document, and what people are told of it. Equal inputs give equal bytes: no times in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from services.evaluation.benchmark.aggregate import GroupScore, Summary, summarise
from services.evaluation.benchmark.scored import ScoredQuestion, tidy
from shared.contracts.records import Dependence

METRIC_VERSION = "sense-benchmark/1"
TITLES = {
    "ex": "EX",
    "ts": "TS",
    "em": "EM",
    "f1": "Soft-F1",
    "ves": "VES",
    "rves": "R-VES",
}
POINTS = ("ves", "rves")  # these are points already; the others are shares, shown in percent
QUIRKS = {
    "value_replaced": "the official code puts 1 for every 'value' in a prediction",
    "operators_joined": "the official code joins '> =' to '>='",
    "distinct_removed": "the official code takes every DISTINCT out of both",
    "later_statements_dropped": "the official code drops what follows the first semicolon",
    "year_replaced": "the official code puts 2020 for YEAR(CURDATE())",
    "order_by_text": "the official code takes any 'order by' in the gold's text for its order, and misses others",
    "order_ignored": "the official code ignores the order of rows",
    "duplicates_ignored": "the official code ignores how often a row stands",
    "quoted_name": "a name in double quotes is no column and was read as a string",
    "slow_together": "gold and prediction together take more than the official 30 s",
    "comparison": "cells or column orders are compared by other rules",
    "value_text": "the official code puts 1 for every 'value' in a prediction",
    "foreign_keys": "the official code takes two foreign keys to one column for the same column",
    "order_directions": "the official code keeps one direction for all columns of ORDER BY",
    "limit_value": "the official code takes any LIMIT for any other",
    "join_conditions": "the official code does not compare ON conditions",
    "subqueries": "the official code compares subqueries without uniting their columns",
    "several_together": "several faults of the official code together",
}


DEPENDS = {
    Dependence.CLOCK.value: (
        "ask what time it is, so that their results and scores hold for this run: another day may give others"
    ),
    Dependence.OUR_LIMITS.value: (
        "were stopped by a limit of the sandbox where a stock SQLite may go on: they are undecided and count as not "
        "right, which says nothing about the SQL"
    ),
    Dependence.COLLATION.value: (
        "are on a database that sorts by a collation which only its own program has: what needs no order of it runs "
        "here, and some of that stops the official evaluator"
    ),
}


@dataclass(frozen=True)
class Setting:
    """What was evaluated and how; hashes are SHA-256 (hex) of the files. `sqlite` is the version that ran the SQL."""

    benchmark: str
    mode: str
    metrics: tuple[str, ...]
    gold: str
    predictions: str
    gold_sha256: str
    predictions_sha256: str
    policy: str
    options: dict[str, Any]
    suite: str | None = None
    sqlite: str | None = None


@dataclass(frozen=True)
class ModeDifference:
    """Questions that one mode calls right and the other wrong, with the named causes that apply to them."""

    metric: str
    other_score: float
    only_here: tuple[int, ...]
    only_there: tuple[int, ...]
    causes: dict[str, int]


@dataclass(frozen=True)
class Document:
    """The whole result. `depends`: what else scores depend on, with the questions that do."""

    setting: Setting
    summary: Summary
    differences: tuple[ModeDifference, ...]
    unreadable: dict[str, int]
    problems: tuple[str, ...]
    depends: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As JSON."""
        summary = asdict(self.summary)
        for part in ("by_hardness", "by_feature", "by_database"):
            summary[part] = {name: group_json(score) for name, score in getattr(self.summary, part).items()}
        summary["overall"] = group_json(self.summary.overall)
        summary["ceiling"], summary["ex_gold_not_empty"] = (
            tidy(value) for value in (self.summary.ceiling, self.summary.ex_gold_not_empty)
        )
        return {
            "metric_version": METRIC_VERSION,
            **asdict(self.setting),
            **summary,
            "other_mode": [{**asdict(one), "other_score": tidy(one.other_score)} for one in self.differences],
            "unreadable_predictions": self.unreadable,
            "depends_on": {name: list(indexes) for name, indexes in self.depends.items()},
            "problems": list(self.problems),
        }


def group_json(score: GroupScore) -> dict[str, Any]:
    """A group's scores."""
    return {"questions": score.questions, **{name: tidy(value) for name, value in score.scores.items()}}


def make_document(setting: Setting, questions: Sequence[ScoredQuestion], problems: Sequence[str]) -> Document:
    """Adds up the questions."""
    unreadable = Counter(one.unreadable for one in questions if one.unreadable)
    return Document(
        setting=setting,
        summary=summarise(one.row for one in questions),
        differences=tuple(
            found for name in ("ex", "ts", "em") if (found := mode_difference(name, questions)) is not None
        ),
        unreadable=dict(sorted(unreadable.items(), key=lambda pair: (-pair[1], pair[0]))),
        problems=tuple(problems),
        depends={
            name: indexes
            for name in DEPENDS
            if (indexes := tuple(one.row.index for one in questions if name in one.depends_on))
        },
    )


def mode_difference(metric: str, questions: Sequence[ScoredQuestion]) -> ModeDifference | None:
    """Where the modes differ on one metric; None where the other mode was not scored."""
    both = [one for one in questions if metric in one.other and getattr(one.row, metric) is not None]
    if not both:
        return None
    differ = [one for one in both if getattr(one.row, metric) != one.other[metric]]
    causes: Counter[str] = Counter()
    for one in differ:
        causes.update(causes_of(metric, one))
    return ModeDifference(
        metric=metric,
        other_score=sum(one.other[metric] for one in both) / len(both),
        only_here=tuple(one.row.index for one in differ if getattr(one.row, metric)),
        only_there=tuple(one.row.index for one in differ if not getattr(one.row, metric)),
        causes=dict(sorted(causes.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def causes_of(metric: str, one: ScoredQuestion) -> tuple[str, ...]:
    """Why the modes differ on a question; no single fault has to turn it."""
    if metric == "em":
        return one.em_quirks or ("several_together",)
    return one.quirks or ("comparison",)


def shown(metric: str, value: float | None) -> str:
    """A score for people: two decimals, shares in percent."""
    if value is None:
        return "-"
    return f"{value if metric in POINTS else 100 * value:.2f}"
