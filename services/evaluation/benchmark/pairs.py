"""Golds and predictions of one benchmark, put side by side."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.evaluation.benchmark.lines import Problem, Problems, read_lines, unknown_database


@dataclass(frozen=True)
class Gold:
    """A gold SQL and its database; `line` is where it stands in its file."""

    line: int
    sql: str
    db_id: str


@dataclass(frozen=True)
class Prediction:
    """A predicted SQL; `db_id` is None where the format has none."""

    line: int
    sql: str
    db_id: str | None = None


@dataclass(frozen=True)
class Pair:
    """One question: `index` counts questions from 0 in the gold's order; `missing` where no prediction was given."""

    index: int
    db_id: str
    gold: str
    prediction: str
    missing: bool = False


@dataclass(frozen=True)
class PairedFiles:
    """The questions, and what was wrong or worth a word in the two files."""

    pairs: list[Pair]
    problems: list[Problem]

    def without(self, unusable: Mapping[str, str], gold_path: Path) -> "PairedFiles":
        """The questions on other databases; each one left out is told with its reason and its questions' number."""
        counts = Counter(pair.db_id for pair in self.pairs if pair.db_id in unusable)
        told = [
            Problem(gold_path.name, 0, f"{count} questions on {name!r} are left out and not counted: {unusable[name]}")
            for name, count in counts.items()
        ]
        return PairedFiles([pair for pair in self.pairs if pair.db_id not in unusable], [*told, *self.problems])


def read_golds(path: Path, known: Collection[str] | None, problems: Problems) -> list[Gold | None]:
    """One gold a line (`SQL`, tab, `db_id`); None where a line cannot be used. `known` are the db_ids there are."""
    return [gold_of(path, place, line, known, problems) for place, line in enumerate(read_lines(path, problems), 1)]


def gold_of(path: Path, place: int, line: str, known: Collection[str] | None, problems: Problems) -> Gold | None:
    """The gold of one line."""
    fields = line.split("\t")
    if not line:
        problems.report(path, place, "this line is blank, which ends a session officially; remove it here and there")
    elif len(fields) != 2:
        problems.report(path, place, f"a gold is `SQL<tab>db_id`, and this line has {len(fields) - 1} tabs")
    elif known is not None and fields[1] not in known:
        problems.report(path, place, unknown_database(fields[1], known))
    else:
        return Gold(place, fields[0], fields[1])
    return None


def pair_up(
    golds: Sequence[Gold | None],
    predictions: Sequence[Prediction | None],
    gold_path: Path,
    path: Path,
    problems: Problems,
) -> PairedFiles:
    """Golds and predictions by their places; a gold that is None leaves its question out.

    Where lenient, a missing prediction is an empty one and a prediction too many is dropped.
    """
    if len(golds) != len(predictions):
        place = 0
        what = f"it has {len(predictions)} predictions for the {len(golds)} golds of {gold_path.name}"
        split = "; does an SQL stretch over several lines?" if len(predictions) > len(golds) else ""
        problems.report(path, place, f"{what}; give one prediction a gold, in the gold's order{split}")
    padded = [*predictions, *[None] * (len(golds) - len(predictions))]
    found: list[Pair] = []
    for index, (gold, prediction) in enumerate(zip(golds, padded, strict=False)):
        if gold is not None:
            sql = "" if prediction is None else prediction.sql
            found.append(Pair(index, gold.db_id, gold.sql, sql, prediction is None))
    return PairedFiles(found, problems.found)
