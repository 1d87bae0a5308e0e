"""Where each format keeps its files: question files by split, tables.json, databases."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.benchmarks.text_files import Problem, read_any_text
from shared.contracts.datasets import DATASET_SPLITS, DatasetFormat
from shared.contracts.records import Policy
from shared.errors import InvalidInputError, NotFoundError
from shared.files import split_lines

BETWEEN = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class ImportedQuestion:
    """One question of a file. `index` counts the questions of all files that were asked for, from 0."""

    index: int
    file: str
    line: int
    split: str
    db: str
    text: str
    gold: str
    evidence: str | None = None
    hardness: str | None = None
    own_id: str | None = None

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True)
class Entry:
    """One object of a file, and the line on which it begins."""

    file: Path
    line: int
    fields: Mapping[str, Any]
    after: str = ""  # what was passed over before it

    def fail(self, message: str) -> InvalidInputError:
        """The error for this entry."""
        return InvalidInputError(f"{Problem(self.file.name, self.line, message)}{self.after}")

    def text(self, name: str) -> str:
        """A field that has to hold text. Raises InvalidInputError with file and line."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip():
            said = "is missing" if name not in self.fields else "is empty or no text"
            raise self.fail(f"`{name}` {said}; every question needs it")
        return value.strip()

    def optional(self, name: str) -> str | None:
        """A field that may be absent, null or empty. Raises InvalidInputError for what is no text."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            raise self.fail(f"`{name}` is no text; write it as a string or leave it out")
        return (value or "").strip() or None


def read_entries(path: Path) -> Iterator[Entry]:
    """Entries of a JSON array, or of JSON lines. Raises InvalidInputError naming file and line."""
    text, marked = read_any_text(path)
    if not text.strip():
        raise InvalidInputError(f"{path.name}, line 1: the file is empty; it has to hold questions")
    entries = array_entries(path, text) if text.lstrip().startswith("[") else line_entries(path, text)
    for line, value in entries:
        if not isinstance(value, dict):
            raise InvalidInputError(str(Problem(path.name, line, "a question is a JSON object, and this is none")))
        yield Entry(path, line, value, " (a byte order mark stands before it)" if marked and line == 1 else "")


def array_entries(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """The values of one JSON array, each with the line on which it begins."""
    decoder = json.JSONDecoder()
    at, seen, line = text.index("[") + 1, 0, 1
    while True:
        at = skip(text, at)
        if text[at : at + 1] == "]":
            return
        line, seen = line + text.count("\n", seen, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise broken(path, error.lineno, error.msg) from error
        yield line, value
        at = skip(text, at)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "]":
            raise broken(path, text.count("\n", 0, at) + 1, "the array ends without ]")


def line_entries(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """One JSON value a line; blank lines are skipped."""
    for line, part in enumerate(split_lines(text), 1):
        if part.strip():
            try:
                yield line, json.loads(part)
            except json.JSONDecodeError as error:
                raise broken(path, line, error.msg) from error


def skip(text: str, at: int) -> int:
    """The place after white space."""
    found = BETWEEN.match(text, at)
    return found.end() if found else at


def broken(path: Path, line: int, reason: str) -> InvalidInputError:
    """The error for a file that is no JSON there."""
    return InvalidInputError(str(Problem(path.name, line, f"this is not JSON ({reason}); fetch the file again")))


def numbered(questions: Iterator[ImportedQuestion]) -> list[ImportedQuestion]:
    """Questions with their numbers, over all files."""
    return [replace(question, index=index) for index, question in enumerate(questions)]


Reader = Callable[[Entry, str], ImportedQuestion]


@dataclass(frozen=True)
class Layout:
    """One format. A split lists its files; of a file with several spellings the first that is there counts.

    `databases` and `beside` are folders below and next to PATH. `golds` are files whose lines must agree.
    """

    policy: Policy
    splits: dict[str, tuple[tuple[str, ...], ...]]
    databases: tuple[str, ...]
    read: Reader
    golds: dict[str, str]
    tables: tuple[str, ...] = ()


def spider_question(entry: Entry, split: str, question: str = "question") -> ImportedQuestion:
    """Spider's own fields."""
    gold = entry.text("query")
    return ImportedQuestion(0, entry.file.name, entry.line, split, entry.text("db_id"), entry.text(question), gold)


def syn_question(entry: Entry, split: str) -> ImportedQuestion:
    """Spider-Syn keeps both questions; the one with synonyms counts."""
    return spider_question(entry, split, "SpiderSynQuestion")


def bird_question(entry: Entry, split: str) -> ImportedQuestion:
    """BIRD's fields; its train set has no difficulty."""
    return ImportedQuestion(
        index=0,
        file=entry.file.name,
        line=entry.line,
        split=split,
        db=entry.text("db_id"),
        text=entry.text("question"),
        gold=entry.text("SQL"),
        evidence=entry.optional("evidence"),
        hardness=entry.optional("difficulty"),
    )


SPIDER_TABLES = ("tables.json", "../spider/tables.json")
SPIDER_DATABASES = ("database", "../spider/database")
LAYOUTS: dict[DatasetFormat, Layout] = {
    "spider": Layout(
        policy=Policy.SPIDER,
        splits={
            "train": (("train_spider.json", "train_spider.min.json"), ("train_others.json",)),
            "dev": (("dev.json",),),
            "test": (("test.json", "test_data/test.json"),),
        },
        databases=("database", "test_database"),
        read=spider_question,
        golds={"dev": "dev_gold.sql"},
        tables=("tables.json", "test_data/tables.json"),
    ),
    "spider-syn": Layout(
        policy=Policy.SPIDER,
        splits={"train": (("train_spider.json",),), "dev": (("dev.json",),)},
        databases=SPIDER_DATABASES,
        read=syn_question,
        golds={},
        tables=SPIDER_TABLES,
    ),
    "spider-dk": Layout(
        policy=Policy.SPIDER,
        splits={"dev": (("Spider-DK.json",),)},
        databases=SPIDER_DATABASES,
        read=spider_question,
        golds={},
        tables=SPIDER_TABLES,
    ),
    "spider-realistic": Layout(
        policy=Policy.SPIDER,
        splits={"dev": (("spider-realistic.json", "spider-realistic.min.json"),)},
        databases=SPIDER_DATABASES,
        read=spider_question,
        golds={},
        tables=SPIDER_TABLES,
    ),
    "bird": Layout(
        policy=Policy.BIRD,
        splits={"train": (("train.json", "train/train.json"),), "dev": (("dev.json", "dev/dev.json"),)},
        databases=("dev_databases", "train_databases", "dev/dev_databases", "train/train_databases"),
        read=bird_question,
        golds={"dev": "dev.sql", "train": "train_gold.sql"},
    ),
    "bird-mini": Layout(
        policy=Policy.BIRD,
        splits={"dev": (("mini_dev_sqlite.json", "mini_dev/mini_dev_sqlite.json"),)},
        databases=("dev_databases", "../dev_databases", "mini_dev/dev_databases"),
        read=bird_question,
        golds={"dev": "mini_dev_sqlite_gold.sql"},
    ),
}


def question_files(layout: Layout, root: Path, split: str) -> list[Path]:
    """The files of a split. Raises InvalidInputError for a split the format lacks, NotFoundError for absent files."""
    if split not in layout.splits:
        raise InvalidInputError(f"this format has no split {split!r}; it has {', '.join(layout.splits)}")
    if not root.is_dir():
        raise NotFoundError(f"there is no folder {root}; give the folder of the benchmark's files")
    found = [first_there(root, names) for names in layout.splits[split]]
    there = [path for path in found if path is not None]
    if not there:
        wanted = " or ".join(layout.splits[split][0])
        raise NotFoundError(f"{root} has no {wanted}; give the folder that holds it")
    return there


def first_there(root: Path, names: Iterable[str]) -> Path | None:
    """The first of these paths below `root` that exists."""
    return next((root / name for name in names if (root / name).exists()), None)


def database_folders(layout: Layout, root: Path, given: Sequence[Path]) -> list[Path]:
    """Folders below or beside PATH, after those that were given. Raises NotFoundError where there is none."""
    found = [*given, *(root / name for name in layout.databases if (root / name).is_dir())]
    if not found:
        raise NotFoundError(f"{root} has no folder {layout.databases[0]}; name the databases' folder with --db")
    return found


def read_questions(layout: Layout, files: Sequence[Path], split: str) -> Iterator[ImportedQuestion]:
    """The questions of all files, in order."""
    for path in files:
        for entry in read_entries(path):
            yield layout.read(entry, split)


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


def custom_questions(path: Path, split: str | None) -> Iterator[ImportedQuestion]:
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


def as_question(entry: Entry) -> ImportedQuestion:
    """One line."""
    if unknown := sorted(set(entry.fields) - FIELDS):
        raise entry.fail(f"unknown field {', '.join(unknown)}; known are {', '.join(sorted(FIELDS))}")
    split, level = entry.optional("split") or "dev", entry.optional("level")
    if split not in DATASET_SPLITS:
        raise entry.fail(f"split {split!r} is none of {', '.join(DATASET_SPLITS)}")
    if level is not None and level not in LEVELS:
        raise entry.fail(f"level {level!r} is none of {', '.join(LEVELS)}")
    own = entry.fields.get("id")
    return ImportedQuestion(
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
