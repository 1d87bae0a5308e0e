"""Gold and prediction files in the formats of Spider and BIRD, paired question by question."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.benchmarks.text_files import FileProblem, Problems, read_lines, read_text, unknown_database
from shared.errors import InvalidInputError
from shared.files import split_lines

if TYPE_CHECKING:
    from services.benchmarks.databases import Databases
    from services.benchmarks.options import Options

IS_JSON = (
    "this is one JSON document, and the file has to hold one SQL a line; BIRD's JSON object takes --benchmark bird"
)
IS_BLANK = (
    "this line is blank: the official evaluator takes it for a session's end, and all that follows is misaligned; "
    "write a placeholder such as `SELECT 1` for a missing answer"
)
SEPARATOR = "\t----- bird -----\t"
MOST_ANSWERS = 1_000_000  # the list of answers is as long as the largest key
NO_SQL = " "  # the official evaluator runs this for an answer that is no text


@dataclass(frozen=True)
class Gold:
    """A gold SQL and its database; `line` counts from 1."""

    line: int
    sql: str
    db_id: str


@dataclass(frozen=True)
class Prediction:
    """A predicted SQL; Spider's format has no `db_id`."""

    line: int
    sql: str
    db_id: str | None = None


@dataclass(frozen=True)
class PredictionPair:
    """One question; `index` counts from 0 in the order of the golds. `missing`: the file has no prediction for it."""

    index: int
    db_id: str
    gold: str
    prediction: str
    missing: bool = False


@dataclass(frozen=True)
class PairedFiles:
    """The questions, and the problems of both files."""

    pairs: list[PredictionPair]
    problems: list[FileProblem]

    def without(self, unusable: Mapping[str, str], gold_path: Path) -> "PairedFiles":
        """The questions on other databases; each database left out becomes a problem with its reason."""
        counts = Counter(pair.db_id for pair in self.pairs if pair.db_id in unusable)
        left_out = [
            FileProblem(
                gold_path.name, 0, f"{count} questions on {name!r} are left out and not counted: {unusable[name]}"
            )
            for name, count in counts.items()
        ]
        return PairedFiles([pair for pair in self.pairs if pair.db_id not in unusable], [*left_out, *self.problems])


def read_golds(path: Path, known: Collection[str] | None, problems: Problems) -> list[Gold | None]:
    """One gold on each line (`SQL`, tab, `db_id`); None for a line that cannot be used. `known` are the databases."""
    return [gold_of(path, place, line, known, problems) for place, line in enumerate(read_lines(path, problems), 1)]


def gold_of(path: Path, place: int, line: str, known: Collection[str] | None, problems: Problems) -> Gold | None:
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
    """Pairs golds and predictions by position; a gold that is None leaves its question out.

    Where lenient, a missing prediction is an empty one, and surplus predictions are dropped.
    """
    if len(golds) != len(predictions):
        place = 0
        what = f"it has {len(predictions)} predictions for the {len(golds)} golds of {gold_path.name}"
        split = "; does an SQL stretch over several lines?" if len(predictions) > len(golds) else ""
        problems.report(path, place, f"{what}; give one prediction a gold, in the gold's order{split}")
    padded = [*predictions, *[None] * (len(golds) - len(predictions))]
    found: list[PredictionPair] = []
    for index, (gold, prediction) in enumerate(zip(golds, padded, strict=False)):
        if gold is not None:
            sql = "" if prediction is None else prediction.sql
            found.append(PredictionPair(index, gold.db_id, gold.sql, sql, prediction is None))
    return PairedFiles(found, problems.found)


def read_spider_predictions(path: Path, problems: Problems) -> list[Prediction | None]:
    """One prediction on each line, the text before its first tab; None for a blank line."""
    found: list[Prediction | None] = []
    lines = read_lines(path, problems)
    # Without this check, a BIRD file scored as Spider's would fail line by line.
    if lines[0].startswith(("{", "[")) and is_json("\n".join(lines)):
        problems.report(path, 0, IS_JSON)
    for place, line in enumerate(lines, 1):
        if not line:
            problems.report(path, place, IS_BLANK)
        found.append(Prediction(place, line.split("\t")[0]) if line else None)
    return found


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read_spider_pairs(
    gold_path: Path, prediction_path: Path, known: Collection[str] | None = None, *, lenient: bool = False
) -> PairedFiles:
    """Pairs both files; `known` are the databases.

    Raises InvalidInputError with line and remedy for what the official evaluator stops on or misreads. `lenient` keeps
    what is usable and lists the problems instead.
    """
    problems = Problems(lenient)
    golds = read_golds(gold_path, known, problems)
    return pair_up(golds, read_spider_predictions(prediction_path, problems), gold_path, prediction_path, problems)


def read_json(path: Path, problems: Problems, hook: Any = None) -> Any:
    """Raises InvalidInputError with the line where the JSON breaks."""
    text = read_text(path, problems)
    try:
        return json.loads(text, object_pairs_hook=hook)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidInputError(
            f"{path.name}, {place}: this is not JSON ({error.msg}); write it with a JSON library"
        ) from error


def read_bird_predictions(
    path: Path, problems: Problems, golds: int | None = None, ids: Sequence[str] = ()
) -> list[Prediction | None]:
    """Answers in the order of their numbers; `line` is the number plus one. `golds` is the number of questions.

    The official evaluator ignores the keys and goes by the order of the file. Here, keys may also be question ids:
    those of `ids`, in the questions' order, or numbers that cannot be positions.

    Raises InvalidInputError, unless lenient, for keys that are not 0, 1, 2 … in order, repeated keys, and answers
    without the separator. An answer that is no text counts as a blank SQL, as it does officially.
    """
    # As a list of pairs: a dict would silently drop repeated keys.
    pairs = read_json(path, problems, hook=list)
    if not isinstance(pairs, list) or any(not isinstance(pair, tuple) for pair in pairs):
        raise InvalidInputError(f"{path.name}: predictions are one JSON object, number -> `SQL{SEPARATOR}db_id`")
    answers = answers_by_id(path, pairs, ids, problems)
    if answers is None:
        answers = answers_by_place(path, pairs, golds, problems)
    if answers is None:
        answers = answers_in_order(path, pairs, problems)
    return [prediction_of(path, place, answers.get(place), problems) for place in range(max(answers, default=-1) + 1)]


def answers_by_id(
    path: Path, pairs: Sequence[tuple[str, Any]], ids: Sequence[str], problems: Problems
) -> dict[int, Any] | None:
    """Position of the question -> answer; None unless the keys are question ids other than plain numbers from 0."""
    keys = [key for key, _ in pairs]
    place_of = {name: place for place, name in enumerate(ids)}
    if not keys or len(set(keys)) < len(keys) or not place_of.keys() >= set(keys) or keys == plain_keys(len(keys)):
        return None
    places = [place_of[key] for key in keys]
    if places == list(range(len(ids))):
        return dict(enumerate(answer for _, answer in pairs))
    meaning = "the keys are question ids, and each answer goes to the question of its id"
    problems.note(path, 0, f"{meaning}; the official code would go by the file's order, which is another")
    return dict(sorted(zip(places, (answer for _, answer in pairs), strict=True)))


def answers_by_place(
    path: Path, pairs: Sequence[tuple[str, Any]], golds: int | None, problems: Problems
) -> dict[int, Any] | None:
    """The answers in the file's order, where the keys are numbers but not positions: ids of a subset, or from 1.

    A single gap among keys from 0 is more likely a lost answer, and keys in disorder a shuffled file.
    """
    keys = [int(key) for key, _ in pairs if key.isdecimal() and len(key) <= len(str(MOST_ANSWERS))]
    beyond = sum(key >= len(pairs) for key in keys)
    if len(keys) != len(pairs) or golds != len(pairs) or keys != sorted(set(keys)) or max(keys) > MOST_ANSWERS:
        return None
    if not keys or (keys[0] == 0 and beyond * 2 <= len(keys)):
        return None
    named = f"{keys[0]} to {keys[-1]}"
    problems.note(
        path, 0, f"the keys ({named}) are no places from 0; officially the file's order counts, so it does here"
    )
    return dict(enumerate(answer for _, answer in pairs))


def plain_keys(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def answers_in_order(path: Path, pairs: list[tuple[str, Any]], problems: Problems) -> dict[int, Any]:
    answers: dict[int, Any] = {}
    for key, answer in pairs:
        if not key.isdecimal():
            problems.report(path, 0, f"key {key!r} is no number; key the answers by their question's number from 0")
        elif int(key) in answers:
            problems.report(path, 0, f"key {key!r} stands twice; give each question one answer")
        elif int(key) > MOST_ANSWERS:
            problems.report(path, 0, f"key {key!r} is beyond {MOST_ANSWERS}; key the answers from 0")
        else:
            answers[int(key)] = answer
    numbers = list(answers)
    wrong = next((place for place, number in enumerate(numbers) if number != place), None)
    if wrong is not None:
        problems.report(
            path, 0, f"answer {wrong} has the key {numbers[wrong]}; officially the file's order counts: sort it"
        )
    return dict(sorted(answers.items()))


def prediction_of(path: Path, place: int, answer: Any, problems: Problems) -> Prediction | None:
    line = place + 1
    if answer is None:
        problems.report(path, line, f"answer {place} is missing; write a placeholder such as `SELECT 1`")
        return None
    if not isinstance(answer, str):
        problems.note(path, line, f"answer {place} is {json.dumps(answer)[:40]}, no text; it counts as a blank SQL")
        return Prediction(line, NO_SQL)
    sql, separator, db_id = answer.partition(SEPARATOR)
    if not separator or SEPARATOR in db_id:
        problems.report(path, line, f"answer {place} is not `SQL{SEPARATOR}db_id` with one separator")
        return Prediction(line, answer.partition(SEPARATOR)[0].strip())
    return Prediction(line, sql, db_id)


def read_bird_pairs(
    gold_path: Path, prediction_path: Path, known: Collection[str] | None = None, *, lenient: bool = False
) -> PairedFiles:
    """Pairs both files. Raises as `read_bird_predictions` and `read_golds` do.

    A prediction that names another database than its gold is a sign of a shifted file, and a problem.
    """
    problems = Problems(lenient)
    golds = read_golds(gold_path, known, problems)
    predictions = read_bird_predictions(prediction_path, problems, len(golds))
    for gold, prediction in zip(golds, predictions, strict=False):
        if gold and prediction and prediction.db_id is not None and prediction.db_id != gold.db_id:
            message = f"this answer is for {prediction.db_id!r}, and its gold for {gold.db_id!r}; is the file shifted?"
            problems.report(prediction_path, prediction.line, message)
    return pair_up(golds, predictions, gold_path, prediction_path, problems)


def read_bird_questions(path: Path, known: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Entries of dev.json (a JSON list) or of JSON lines: `db_id`, `SQL`, `difficulty` and others.

    Raises InvalidInputError where the file is neither, or an entry lacks one of the three.
    """
    text = read_text(path, Problems(lenient=True))
    entries = read_json(path, Problems(lenient=True)) if text.lstrip().startswith("[") else parse_json_lines(path, text)
    for place, entry in enumerate(entries):
        lacking = {"db_id", "SQL", "difficulty"} - entry.keys() if isinstance(entry, dict) else {"db_id"}
        if lacking:
            raise InvalidInputError(f"{path.name}: question {place} has no {', '.join(sorted(lacking))}")
        if known is not None and entry["db_id"] not in known:
            raise InvalidInputError(f"{path.name}: question {place}: {unknown_database(entry['db_id'], known)}")
    return list(entries)


def parse_json_lines(path: Path, text: str) -> list[Any]:
    """Raises InvalidInputError with the line that is no JSON."""
    found = []
    for place, line in enumerate(split_lines(text), 1):
        try:
            found.append(json.loads(line) if line.strip() else None)
        except json.JSONDecodeError as error:
            raise InvalidInputError(f"{path.name}, line {place}: this is not JSON ({error.msg})") from error
    return [one for one in found if one is not None]


def golds_of(entries: Collection[dict[str, Any]]) -> list[Gold]:
    return [Gold(place, str(entry["SQL"]), str(entry["db_id"])) for place, entry in enumerate(entries, 1)]


def read_inputs(options: "Options", databases: "Databases", diff: Path | None) -> tuple[PairedFiles, dict[int, str]]:
    """The pairs, and for BIRD the difficulty of each question by its index.

    Raises InvalidInputError with file, line and remedy; where lenient, lists problems and keeps the rest.
    """
    known = databases.known
    if options.benchmark == "spider":
        return read_spider_pairs(options.gold, options.pred, known, lenient=options.lenient), {}
    if is_question_file(options.gold):
        return bird_questions(options, databases)
    paired = read_bird_pairs(options.gold, options.pred, known, lenient=options.lenient)
    return paired, difficulties(diff) if diff else {}


def is_question_file(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            # The first character decides: a JSON list or object, or a line of SQL.
            return file.read(64).lstrip()[:1] in ("[", "{")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror}); give the path of a file") from error


def bird_questions(options: "Options", databases: "Databases") -> tuple[PairedFiles, dict[int, str]]:
    """Golds of dev.json. Questions on a missing database are a problem; where lenient, they are left out."""
    entries = read_bird_questions(options.gold)
    problems = Problems(options.lenient)
    golds = golds_of(entries)
    here = [gold if gold.db_id in databases.known else None for gold in golds]
    for name in sorted({gold.db_id for gold in golds} - databases.known.keys()):
        count = sum(gold.db_id == name for gold in golds)
        message = (
            f"{count} questions are on {name!r}, which {databases.folder} does not have; --lenient leaves them out"
        )
        problems.report(options.gold, 0, message)
    ids = [str(entry["question_id"]) for entry in entries if "question_id" in entry]
    # Ids are usable only if every question has one and none repeats.
    ids = ids if len(ids) == len(set(ids)) == len(entries) else []
    predictions = read_bird_predictions(options.pred, problems, len(golds), ids)
    paired = pair_up(here, predictions, options.gold, options.pred, problems)
    return paired, {place: str(entry["difficulty"]) for place, entry in enumerate(entries)}


def read_golds_of(path: Path, databases: "Databases") -> list[Gold]:
    """The golds alone, of either benchmark, on databases that exist. Raises InvalidInputError."""
    if is_question_file(path):
        return [gold for gold in golds_of(read_bird_questions(path)) if gold.db_id in databases.known]
    return [gold for gold in read_golds(path, databases.known, Problems()) if gold is not None]


def read_predictions_of(path: Path) -> list[str]:
    return [one.sql for one in read_spider_predictions(path, Problems(lenient=True)) if one is not None]


def difficulties(path: Path) -> dict[int, str]:
    return {place: str(entry["difficulty"]) for place, entry in enumerate(read_bird_questions(path))}


def read_per_question(path: Path) -> list[dict[str, object]]:
    """The lines of a `--per-question` file. Raises InvalidInputError with the line that is not one."""
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
            place = FileProblem(path.name, number, "this is no line of `sense evaluate --per-question`")
            raise InvalidInputError(str(place)) from error
    return found
