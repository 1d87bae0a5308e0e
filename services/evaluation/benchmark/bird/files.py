"""BIRD's official files: golds one a line, predictions as a JSON object, questions as JSON or JSON lines."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from services.evaluation.benchmark.lines import Problems, read_text, unknown_database
from services.evaluation.benchmark.pairs import Gold, PairedFiles, Prediction, pair_up, read_golds
from shared.errors import InvalidInputError
from shared.files import split_lines

SEPARATOR = "\t----- bird -----\t"
MOST_ANSWERS = 1_000_000  # a key far away would otherwise make a list as long as its number
NO_SQL = " "  # what the official code runs for an answer that is no text


def read_json(path: Path, problems: Problems, hook: Any = None) -> Any:
    """The file's JSON. Raises InvalidInputError with the line where it breaks."""
    text = read_text(path, problems)
    try:
        return json.loads(text, object_pairs_hook=hook)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidInputError(
            f"{path.name}, {place}: this is not JSON ({error.msg}); write it with a JSON library"
        ) from error


def read_predictions(
    path: Path, problems: Problems, golds: int | None = None, ids: Sequence[str] = ()
) -> list[Prediction | None]:
    """Answers in the order of their numbers; `line` is the answer's number plus one. `golds` counts the questions.

    Keys may be the questions' own ids: `ids`, in the questions' order, where a file has them, or numbers that cannot be
    places. The official code never reads keys and goes by the file's order, so that is what counts without `ids`.

    Raises InvalidInputError, unless lenient, for keys that are not 0, 1, 2 … in order, keys given twice, and answers
    without the separator. An answer that is no text counts as a blank SQL, as officially.
    """
    pairs = read_json(path, problems, hook=list)
    if not isinstance(pairs, list) or any(not isinstance(pair, tuple) for pair in pairs):
        raise InvalidInputError(f"{path.name}: predictions are one JSON object, number -> `SQL{SEPARATOR}db_id`")
    answers = by_ids(path, pairs, ids, problems)
    if answers is None:
        answers = by_place(path, pairs, golds, problems)
    if answers is None:
        answers = in_order(path, pairs, problems)
    return [prediction_of(path, place, answers.get(place), problems) for place in range(max(answers, default=-1) + 1)]


def by_ids(
    path: Path, pairs: Sequence[tuple[str, Any]], ids: Sequence[str], problems: Problems
) -> dict[int, Any] | None:
    """Place of the question -> answer, where the keys are ids of the questions and not plain numbers from 0."""
    keys = [key for key, _ in pairs]
    place_of = {name: place for place, name in enumerate(ids)}
    if not keys or len(set(keys)) < len(keys) or not place_of.keys() >= set(keys) or keys == plain(len(keys)):
        return None
    places = [place_of[key] for key in keys]
    if places == list(range(len(ids))):
        return dict(enumerate(answer for _, answer in pairs))
    said = "the keys are question ids, and each answer goes to the question of its id"
    problems.note(path, 0, f"{said}; the official code would go by the file's order, which is another")
    return dict(sorted(zip(places, (answer for _, answer in pairs), strict=True)))


def by_place(
    path: Path, pairs: Sequence[tuple[str, Any]], golds: int | None, problems: Problems
) -> dict[int, Any] | None:
    """The answers in the file's order, where the keys are numbers that cannot be places: ids of a subset, or from 1.

    One gap among keys from 0 is rather a lost answer, and keys in disorder rather a shuffled file.
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


def plain(count: int) -> list[str]:
    """The keys of a file as it should be."""
    return [str(number) for number in range(count)]


def in_order(path: Path, pairs: list[tuple[str, Any]], problems: Problems) -> dict[int, Any]:
    """Number -> answer, numbers rising. The official code goes by the file's order and never reads the keys."""
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
    """The prediction of one answer; None where there is none."""
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


def read_pairs(
    gold_path: Path, prediction_path: Path, known: Collection[str] | None = None, *, lenient: bool = False
) -> PairedFiles:
    """Both files as questions; the gold's db_id counts. Raises as `read_predictions` and `read_golds` do.

    A prediction that names another database than its gold is a sign of a shifted file, and a problem.
    """
    problems = Problems(lenient)
    golds = read_golds(gold_path, known, problems)
    predictions = read_predictions(prediction_path, problems, len(golds))
    for gold, prediction in zip(golds, predictions, strict=False):
        if gold and prediction and prediction.db_id is not None and prediction.db_id != gold.db_id:
            message = f"this answer is for {prediction.db_id!r}, and its gold for {gold.db_id!r}; is the file shifted?"
            problems.report(prediction_path, prediction.line, message)
    return pair_up(golds, predictions, gold_path, prediction_path, problems)


def read_questions(path: Path, known: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Entries of dev.json (a JSON list) or of a JSON lines file: `db_id`, `SQL`, `difficulty` and others.

    Raises InvalidInputError where the file is neither, or an entry lacks one of the three.
    """
    text = read_text(path, Problems(lenient=True))
    entries = read_json(path, Problems(lenient=True)) if text.lstrip().startswith("[") else json_lines(path, text)
    for place, entry in enumerate(entries):
        lacking = {"db_id", "SQL", "difficulty"} - entry.keys() if isinstance(entry, dict) else {"db_id"}
        if lacking:
            raise InvalidInputError(f"{path.name}: question {place} has no {', '.join(sorted(lacking))}")
        if known is not None and entry["db_id"] not in known:
            raise InvalidInputError(f"{path.name}: question {place}: {unknown_database(entry['db_id'], known)}")
    return list(entries)


def json_lines(path: Path, text: str) -> list[Any]:
    """One JSON value a line. Raises InvalidInputError with the line that is none."""
    found = []
    for place, line in enumerate(split_lines(text), 1):
        try:
            found.append(json.loads(line) if line.strip() else None)
        except json.JSONDecodeError as error:
            raise InvalidInputError(f"{path.name}, line {place}: this is not JSON ({error.msg})") from error
    return [one for one in found if one is not None]


def golds_of(entries: Collection[dict[str, Any]]) -> list[Gold]:
    """The golds of `read_questions`; `line` counts questions from 1."""
    return [Gold(place, str(entry["SQL"]), str(entry["db_id"])) for place, entry in enumerate(entries, 1)]


def difficulty_counts(entries: Collection[dict[str, Any]]) -> dict[str, int]:
    """How many questions each difficulty has."""
    return dict(Counter(str(entry["difficulty"]) for entry in entries))
