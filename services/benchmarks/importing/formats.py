"""Question files as they are published: where each format keeps them, and how to read them with line numbers."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.benchmarks.text_files import FileProblem, read_any_text
from shared.contracts.datasets import DATASET_SPLITS, DatasetFormat
from shared.contracts.records import Policy
from shared.errors import InvalidInputError, NotFoundError
from shared.files import split_lines

CUSTOM_FIELDS = frozenset({"question", "sql", "db", "evidence", "id", "split", "level"})
CUSTOM_LEVELS = ("easy", "medium", "hard", "extra", "simple", "moderate", "challenging")
CUSTOM_NAMES = ("examples.jsonl", "questions.jsonl")
BETWEEN = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class ImportedQuestion:
    """One question. `index` counts from 0 over all files of the split."""

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
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True)
class JsonEntry:
    """One JSON object, and the line on which it begins."""

    file: Path
    line: int
    fields: Mapping[str, Any]
    after: str = ""  # a remark for errors, such as a byte order mark before the entry

    def fail(self, message: str) -> InvalidInputError:
        return InvalidInputError(f"{FileProblem(self.file.name, self.line, message)}{self.after}")

    def text(self, name: str) -> str:
        """A required field. Raises InvalidInputError with file and line."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip():
            fault = "is missing" if name not in self.fields else "is empty or no text"
            raise self.fail(f"`{name}` {fault}; every question needs it")
        return value.strip()

    def optional(self, name: str) -> str | None:
        """A field that may be absent, null or empty. Raises InvalidInputError where it is no text."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            raise self.fail(f"`{name}` is no text; write it as a string or leave it out")
        return (value or "").strip() or None


def read_entries(path: Path) -> Iterator[JsonEntry]:
    """Entries of a JSON array or of JSON lines. Raises InvalidInputError with file and line."""
    text, marked = read_any_text(path)
    if not text.strip():
        raise InvalidInputError(f"{path.name}, line 1: the file is empty; it has to hold questions")
    entries = array_entries(path, text) if text.lstrip().startswith("[") else line_entries(path, text)
    for line, value in entries:
        if not isinstance(value, dict):
            raise InvalidInputError(str(FileProblem(path.name, line, "a question is a JSON object, and this is none")))
        yield JsonEntry(path, line, value, " (a byte order mark stands before it)" if marked and line == 1 else "")


def array_entries(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    decoder = json.JSONDecoder()
    at, seen, line = text.index("[") + 1, 0, 1
    while True:
        at = skip(text, at)
        if text[at : at + 1] == "]":
            return
        line, seen = line + text.count("\n", seen, at), at
        try:
            # Value by value: json.loads would lose the line of each entry.
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
    for line, part in enumerate(split_lines(text), 1):
        if part.strip():
            try:
                yield line, json.loads(part)
            except json.JSONDecodeError as error:
                raise broken(path, line, error.msg) from error


def skip(text: str, at: int) -> int:
    found = BETWEEN.match(text, at)
    return found.end() if found else at


def broken(path: Path, line: int, reason: str) -> InvalidInputError:
    return InvalidInputError(str(FileProblem(path.name, line, f"this is not JSON ({reason}); fetch the file again")))


def numbered(questions: Iterator[ImportedQuestion]) -> list[ImportedQuestion]:
    return [replace(question, index=index) for index, question in enumerate(questions)]


Reader = Callable[[JsonEntry, str], ImportedQuestion]


@dataclass(frozen=True)
class Layout:
    """Where one format keeps its files.

    Each split lists its files; of several spellings the first that exists counts. `databases` are folders relative to
    PATH. `golds` are the official gold files, which should agree with the questions.
    """

    policy: Policy
    splits: dict[str, tuple[tuple[str, ...], ...]]
    databases: tuple[str, ...]
    read: Reader
    golds: dict[str, str]
    tables: tuple[str, ...] = ()


def spider_question(entry: JsonEntry, split: str, question: str = "question") -> ImportedQuestion:
    gold = entry.text("query")
    return ImportedQuestion(0, entry.file.name, entry.line, split, entry.text("db_id"), entry.text(question), gold)


def syn_question(entry: JsonEntry, split: str) -> ImportedQuestion:
    """Spider-Syn has both questions; the one with synonyms counts."""
    return spider_question(entry, split, "SpiderSynQuestion")


def bird_question(entry: JsonEntry, split: str) -> ImportedQuestion:
    """BIRD's train set has no difficulty."""
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


# Spider-Syn, Spider-DK and Spider-Realistic use Spider's databases, which may lie in a folder beside theirs.
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
    """Raises InvalidInputError for a split that the format lacks, NotFoundError for files that are missing."""
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
    return next((root / name for name in names if (root / name).exists()), None)


def database_folders(layout: Layout, root: Path, given: Sequence[Path]) -> list[Path]:
    """The given folders, then those below or beside PATH. Raises NotFoundError where there is none."""
    found = [*given, *(root / name for name in layout.databases if (root / name).is_dir())]
    if not found:
        raise NotFoundError(f"{root} has no folder {layout.databases[0]}; name the databases' folder with --db")
    return found


def read_questions(layout: Layout, files: Sequence[Path], split: str) -> Iterator[ImportedQuestion]:
    for path in files:
        for entry in read_entries(path):
            yield layout.read(entry, split)


def custom_file(path: Path) -> Path:
    """The question file at PATH or in it. Raises NotFoundError."""
    found = first_there(path, CUSTOM_NAMES) if path.is_dir() else path
    if found is None or not found.exists():
        raise NotFoundError(f"there are no questions at {path}; give a JSONL file, or a folder with {CUSTOM_NAMES[0]}")
    return found


def custom_folders(path: Path, given: list[Path]) -> list[Path]:
    """The given folders, else `databases` or `database` beside the file, else the folder of the file."""
    beside = path.parent
    named = [beside / name for name in ("databases", "database") if (beside / name).is_dir()]
    return given or named or [beside]


def custom_questions(path: Path, split: str | None) -> Iterator[ImportedQuestion]:
    """The questions of one split, or all. A question without `split` belongs to `dev`.

    Raises InvalidInputError with file and line for unknown fields, splits and levels, and for repeated ids.
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


def as_question(entry: JsonEntry) -> ImportedQuestion:
    if unknown := sorted(set(entry.fields) - CUSTOM_FIELDS):
        raise entry.fail(f"unknown field {', '.join(unknown)}; known are {', '.join(sorted(CUSTOM_FIELDS))}")
    split, level = entry.optional("split") or "dev", entry.optional("level")
    if split not in DATASET_SPLITS:
        raise entry.fail(f"split {split!r} is none of {', '.join(DATASET_SPLITS)}")
    if level is not None and level not in CUSTOM_LEVELS:
        raise entry.fail(f"level {level!r} is none of {', '.join(CUSTOM_LEVELS)}")
    given_id = entry.fields.get("id")
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
        # an id may be a number
        own_id=None if given_id is None else str(given_id),
    )
