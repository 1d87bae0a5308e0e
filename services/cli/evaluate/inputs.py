"""Gold and prediction files of either benchmark as pairs, with BIRD's difficulties where a file has them."""

import json
from pathlib import Path

from services.cli.evaluate.layout import Databases
from services.cli.evaluate.options import Options
from services.evaluation.benchmark.bird import files as bird_files
from services.evaluation.benchmark.lines import Problem, Problems
from services.evaluation.benchmark.pairs import Gold, PairedFiles, pair_up, read_golds
from services.evaluation.benchmark.spider import files as spider_files
from shared.errors import InvalidInputError
from shared.files import split_lines


def read_inputs(options: Options, databases: Databases, diff: Path | None) -> tuple[PairedFiles, dict[int, str]]:
    """The pairs, and the difficulty of each question by its index (BIRD only).

    Raises InvalidInputError, naming file, line and remedy; where lenient, the rest is kept and the problems listed.
    """
    known = databases.known
    if options.benchmark == "spider":
        return spider_files.read_pairs(options.gold, options.pred, known, lenient=options.lenient), {}
    if is_json(options.gold):
        return bird_questions(options, databases)
    paired = bird_files.read_pairs(options.gold, options.pred, known, lenient=options.lenient)
    return paired, difficulties(diff) if diff else {}


def is_json(path: Path) -> bool:
    """Whether the golds are BIRD's question file and not lines of SQL."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(64).lstrip()[:1] in ("[", "{")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror}); give the path of a file") from error


def bird_questions(options: Options, databases: Databases) -> tuple[PairedFiles, dict[int, str]]:
    """Golds from dev.json; questions on databases that are not here are a problem, or left out where lenient."""
    entries = bird_files.read_questions(options.gold)
    problems = Problems(options.lenient)
    golds = bird_files.golds_of(entries)
    here = [gold if gold.db_id in databases.known else None for gold in golds]
    for name in sorted({gold.db_id for gold in golds} - databases.known.keys()):
        count = sum(gold.db_id == name for gold in golds)
        message = (
            f"{count} questions are on {name!r}, which {databases.folder} does not have; --lenient leaves them out"
        )
        problems.report(options.gold, 0, message)
    ids = [str(entry["question_id"]) for entry in entries if "question_id" in entry]
    ids = ids if len(ids) == len(set(ids)) == len(entries) else []
    predictions = bird_files.read_predictions(options.pred, problems, len(golds), ids)
    paired = pair_up(here, predictions, options.gold, options.pred, problems)
    return paired, {place: str(entry["difficulty"]) for place, entry in enumerate(entries)}


def read_golds_of(path: Path, databases: Databases) -> list[Gold]:
    """The golds alone, of either benchmark, on databases that are here. Raises InvalidInputError."""
    if is_json(path):
        return [gold for gold in bird_files.golds_of(bird_files.read_questions(path)) if gold.db_id in databases.known]
    return [gold for gold in read_golds(path, databases.known, Problems()) if gold is not None]


def read_predictions_of(path: Path) -> list[str]:
    """The SQL of a Spider prediction file."""
    return [one.sql for one in spider_files.read_predictions(path, Problems(lenient=True)) if one is not None]


def difficulties(path: Path) -> dict[int, str]:
    """Question index -> difficulty."""
    return {place: str(entry["difficulty"]) for place, entry in enumerate(bird_files.read_questions(path))}


def read_lines(path: Path) -> list[dict[str, object]]:
    """A per-question file. Raises InvalidInputError with the line that is not one of ours."""
    found = []
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(split_lines(text), 1):
        try:
            row = json.loads(line)
            found.append({"index": int(row["index"]), "db_id": str(row["db_id"]), **row})
        except (ValueError, KeyError, TypeError) as error:
            place = Problem(path.name, number, "this is no line of `sense evaluate --per-question`")
            raise InvalidInputError(str(place)) from error
    return found
