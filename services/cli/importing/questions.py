"""Question files as they are published: JSON arrays and JSON lines, every entry with its line."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.evaluation.benchmark.lines import Problem, read_any_text
from shared.errors import InvalidInputError
from shared.files import split_lines

BETWEEN = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Question:
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


def numbered(questions: Iterator[Question]) -> list[Question]:
    """Questions with their numbers, over all files."""
    return [replace(question, index=index) for index, question in enumerate(questions)]
