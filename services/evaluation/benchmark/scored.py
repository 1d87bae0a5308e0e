"""One scored question with all that explains it, and its line in the per-question file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.evaluation.benchmark.aggregate import METRICS, QuestionRow
from services.evaluation.benchmark.taxonomy import ResultFacts
from shared.contracts.records import ResultView


@dataclass(frozen=True)
class ScoredQuestion:
    """`other` holds the other mode's scores by metric, `quirks` why the official rule may see this question otherwise
    (`em_quirks`: why exact match does).

    `unreadable` says why the exact-match parser could not read the prediction. `depends_on` names what else than the
    two texts and the database the scores depend on (`DEPENDS` of the document).
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
        """The question as JSON: names of the metrics as keys, times left out (they are no property of the answer)."""
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
    """A result cut down for people."""
    if view is None:
        return None
    return {
        "columns": view.columns,
        "rows": view.rows,
        "row_count": view.row_count,
        "truncated": view.truncated,
    }


def facts_of(view: ResultView | None) -> ResultFacts | None:
    """What the failure taxonomy needs; rows only where all of them were kept."""
    if view is None:
        return None
    return ResultFacts(len(view.columns), view.row_count, None if view.truncated else view.rows)


def first_difference(gold: ResultView | None, view: ResultView | None) -> dict[str, Any] | None:
    """The first place where the kept rows differ, as they stand; None where they do not."""
    if gold is None or view is None or not (gold.columns and view.columns):
        return None
    longest = max(len(gold.rows), len(view.rows))
    for place in range(longest):
        wanted, found = row_at(gold.rows, place), row_at(view.rows, place)
        if wanted != found:
            return {"row": place, "gold": wanted, "prediction": found}
    return None


def row_at(rows: Sequence[list[Any]], place: int) -> list[Any] | None:
    """The row, None past the end."""
    return rows[place] if place < len(rows) else None
