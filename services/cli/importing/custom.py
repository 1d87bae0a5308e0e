"""Own questions: JSON lines of `question`, `sql`, `db`, with `evidence`, `id`, `split` and `level` where wanted."""

from collections.abc import Iterator
from pathlib import Path

from services.cli.importing.layouts import first_there
from services.cli.importing.questions import Entry, Question, read_entries
from shared.contracts.datasets import DATASET_SPLITS
from shared.errors import NotFoundError

FIELDS = frozenset({"question", "sql", "db", "evidence", "id", "split", "level"})
LEVELS = ("easy", "medium", "hard", "extra", "simple", "moderate", "challenging")
NAMES = ("examples.jsonl", "questions.jsonl")


def custom_file(path: Path) -> Path:
    """The question file that PATH is, or has. Raises NotFoundError."""
    found = first_there(path, NAMES) if path.is_dir() else path
    if found is None or not found.exists():
        raise NotFoundError(f"there are no questions at {path}; give a JSONL file, or a folder with {NAMES[0]}")
    return found


def custom_folders(path: Path, given: list[Path]) -> list[Path]:
    """Given folders, else `databases` (or `database`) beside the file, else the file's own folder."""
    beside = path.parent
    named = [beside / name for name in ("databases", "database") if (beside / name).is_dir()]
    return given or named or [beside]


def custom_questions(path: Path, split: str | None) -> Iterator[Question]:
    """All questions, or those of one split; without a `split` of its own a question belongs to `dev`.

    Raises InvalidInputError with file and line for unknown fields, splits and levels, and ids that stand twice.
    """
    seen: dict[str, int] = {}
    for entry in read_entries(path):
        question = as_question(entry)
        if question.own_id is not None:
            first = seen.setdefault(question.own_id, entry.line)
            if first != entry.line:
                raise entry.fail(f"id {question.own_id!r} stands on line {first} already; ids are unique")
        if split is None or question.split == split:
            yield question


def as_question(entry: Entry) -> Question:
    """One line."""
    if unknown := sorted(set(entry.fields) - FIELDS):
        raise entry.fail(f"unknown field {', '.join(unknown)}; known are {', '.join(sorted(FIELDS))}")
    split, level = entry.optional("split") or "dev", entry.optional("level")
    if split not in DATASET_SPLITS:
        raise entry.fail(f"split {split!r} is none of {', '.join(DATASET_SPLITS)}")
    if level is not None and level not in LEVELS:
        raise entry.fail(f"level {level!r} is none of {', '.join(LEVELS)}")
    own = entry.fields.get("id")
    return Question(
        index=0,
        file=entry.file.name,
        line=entry.line,
        split=split,
        db=entry.text("db"),
        text=entry.text("question"),
        gold=entry.text("sql"),
        evidence=entry.optional("evidence"),
        hardness=level,
        own_id=None if own is None else str(own),
    )
