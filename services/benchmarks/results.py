"""The result of an evaluation as JSON: one document, and one line for each question. It holds no times."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from services.evaluation.metrics.aggregate import METRIC_VERSION, METRICS, GroupScore, QuestionRow, Summary, summarise
from services.evaluation.metrics.failures import DEPENDS
from shared.contracts.records import ResultView


@dataclass(frozen=True)
class ScoredQuestion:
    """One question with all that explains its scores.

    `other` holds the other mode's scores by metric, `quirks` the reasons why the modes may differ (`em_quirks`: in
    exact match). `unreadable`: why the exact-match parser cannot read the prediction. `depends_on`: keys of `DEPENDS`.
    """

    row: QuestionRow
    gold: str
    prediction: str
    message: str | None = None
    gold_view: ResultView | None = None
    view: ResultView | None = None
    other: dict[str, float] = field(default_factory=dict)
    quirks: tuple[str, ...] = ()
    em_quirks: tuple[str, ...] = ()
    unreadable: str | None = None
    gold_ms: float | None = None
    ms: float | None = None
    depends_on: tuple[str, ...] = ()

    def line(self) -> dict[str, Any]:
        """As JSON, without times: they are no property of the answer."""
        row = self.row
        scores = {name: tidy(getattr(row, name)) for name in METRICS if getattr(row, name) is not None}
        return {
            "index": row.index,
            "db_id": row.db_id,
            "hardness": row.hardness,
            "verdict": row.verdict.value,
            "outcome": row.outcome.value if row.outcome else None,
            **scores,
            "failure": row.failure.value,
            "other_mode": {name: tidy(value) for name, value in self.other.items()},
            "quirks": list(self.quirks),
            "em_quirks": list(self.em_quirks),
            "unreadable": self.unreadable,
            "depends_on": list(self.depends_on),
            "features": sorted(row.features),
            "gold": self.gold,
            "prediction": self.prediction,
            "message": self.message,
            "gold_result": view_of(self.gold_view),
            "result": view_of(self.view),
            "first_difference": first_difference(self.gold_view, self.view),
        }


def tidy(value: float | None) -> float | int | None:
    """0 and 1 as whole numbers, other scores to six digits."""
    if value is None:
        return None
    return int(value) if float(value).is_integer() else round(value, 6)


def view_of(view: ResultView | None) -> dict[str, Any] | None:
    if view is None:
        return None
    return {
        "columns": view.columns,
        "rows": view.rows,
        "row_count": view.row_count,
        "truncated": view.truncated,
    }


def first_difference(gold: ResultView | None, view: ResultView | None) -> dict[str, Any] | None:
    """The first row that differs; None where all kept rows are equal."""
    if gold is None or view is None or not (gold.columns and view.columns):
        return None
    longest = max(len(gold.rows), len(view.rows))
    for place in range(longest):
        wanted, found = row_at(gold.rows, place), row_at(view.rows, place)
        if wanted != found:
            return {"row": place, "gold": wanted, "prediction": found}
    return None


def row_at(rows: Sequence[list[Any]], place: int) -> list[Any] | None:
    return rows[place] if place < len(rows) else None


TITLES = {
    "ex": "EX",
    "ts": "TS",
    "em": "EM",
    "f1": "Soft-F1",
    "ves": "VES",
    "rves": "R-VES",
}
POINTS = ("ves", "rves")  # these are points already; the others are shares, shown in percent


@dataclass(frozen=True)
class Setting:
    """What was evaluated and how. Hashes are SHA-256 (hex) of the files; `sqlite` is the version that ran the SQL."""

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
    """Questions that only one of the modes calls right, and how often each quirk applies to them."""

    metric: str
    other_score: float
    only_here: tuple[int, ...]
    only_there: tuple[int, ...]
    causes: dict[str, int]


@dataclass(frozen=True)
class Document:
    """`depends`: questions by what else their scores depend on."""

    setting: Setting
    summary: Summary
    differences: tuple[ModeDifference, ...]
    unreadable: dict[str, int]
    problems: tuple[str, ...]
    depends: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
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
    return {"questions": score.questions, **{name: tidy(value) for name, value in score.scores.items()}}


def make_document(setting: Setting, questions: Sequence[ScoredQuestion], problems: Sequence[str]) -> Document:
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
    """Where the modes differ on a metric; None where the other mode was not scored."""
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
    """The quirks that apply to a question; none of them has to turn the verdict by itself."""
    if metric == "em":
        return one.em_quirks or ("several_together",)
    return one.quirks or ("comparison",)


def score_text(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value if metric in POINTS else 100 * value:.2f}"
