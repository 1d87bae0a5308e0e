"""Gold and prediction files in Spider's official format: one SQL a line."""

import json
from collections.abc import Collection
from pathlib import Path

from services.evaluation.benchmark.lines import Problems, read_lines
from services.evaluation.benchmark.pairs import PairedFiles, Prediction, pair_up, read_golds

JSON = "this is one JSON document, and the file has to hold one SQL a line; BIRD's JSON object takes --benchmark bird"
BLANK = (
    "this line is blank: the official evaluator takes it for a session's end, and all that follows is misaligned; "
    "write a placeholder such as `SELECT 1` for a missing answer"
)


def read_predictions(path: Path, problems: Problems) -> list[Prediction | None]:
    """One prediction a line, the text before its first tab; None for a blank line."""
    found: list[Prediction | None] = []
    lines = read_lines(path, problems)
    if lines[0].startswith(("{", "[")) and is_json("\n".join(lines)):
        problems.report(path, 0, JSON)
    for place, line in enumerate(lines, 1):
        if not line:
            problems.report(path, place, BLANK)
        found.append(Prediction(place, line.split("\t")[0]) if line else None)
    return found


def is_json(text: str) -> bool:
    """Whether a text is one JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read_pairs(
    gold_path: Path, prediction_path: Path, known: Collection[str] | None = None, *, lenient: bool = False
) -> PairedFiles:
    """Both files as questions; `known` are the db_ids there are.

    Raises InvalidInputError, naming line and remedy, for lines or lengths that the official evaluator stops on or
    misreads. `lenient` keeps what can be used and lists the problems instead.
    """
    problems = Problems(lenient)
    golds = read_golds(gold_path, known, problems)
    return pair_up(golds, read_predictions(prediction_path, problems), gold_path, prediction_path, problems)
