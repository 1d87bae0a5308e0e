"""Reads text files of benchmarks; a problem has its place and its remedy."""

import codecs
import io
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from shared.errors import InvalidInputError

BOM = "\ufeff"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class FileProblem:
    """`line` counts from 1, and is 0 for the file as a whole."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.message}"


@dataclass
class Problems:
    """Raises at the first problem, or collects them all where `lenient`."""

    lenient: bool = False
    found: list[FileProblem] = field(default_factory=list)

    def report(self, file: Path, line: int, message: str) -> None:
        """Raises InvalidInputError unless lenient."""
        problem = FileProblem(file.name, line, message)
        if not self.lenient:
            raise InvalidInputError(str(problem))
        self.found.append(problem)

    def note(self, file: Path, line: int, message: str) -> None:
        """Records what the official evaluator accepts; never raises."""
        self.found.append(FileProblem(file.name, line, message))


def read_text(path: Path, problems: Problems) -> str:
    """The text with line ends as the official evaluator sees them.

    Raises InvalidInputError for files that cannot be read or decoded, also when lenient. A byte order mark, UTF-16
    and NUL characters are problems: they make SQL unreadable officially.
    """
    data = read_bytes(path)
    if data.startswith(UTF_16):
        problems.report(path, 1, "this is UTF-16, which the official evaluator cannot read; save the file as UTF-8")
    text = decoded(path, data)
    if text.startswith(BOM) and not data.startswith(UTF_16):
        problems.report(path, 1, "a byte order mark stands before the first SQL; save the file as UTF-8 without one")
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        problems.report(path, line, "a NUL character stands here (is it UTF-16?); save the file as UTF-8")
    return with_line_feeds(text)


def read_any_text(path: Path) -> tuple[str, bool]:
    """The text of a file that no official code reads, and whether it begins with a byte order mark; UTF-16 is fine.

    Raises InvalidInputError for files that cannot be read or decoded.
    """
    text = decoded(path, data := read_bytes(path))
    return with_line_feeds(text), text.startswith(BOM) or data.startswith(UTF_16)


def read_bytes(path: Path) -> bytes:
    """Raises InvalidInputError where the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror}); give the path of a file") from error


def decoded(path: Path, data: bytes) -> str:
    """Decodes UTF-16 where a byte order mark announces it, else UTF-8. Raises InvalidInputError with the line."""
    try:
        return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{path.name}, line {line}: this is not UTF-8; save the file as UTF-8") from error


def with_line_feeds(text: str) -> str:
    # newline=None turns every kind of line end into \n, as opening the file in text mode does.
    return io.StringIO(text.removeprefix(BOM), newline=None).read()


def read_lines(path: Path, problems: Problems) -> list[str]:
    """The stripped lines, without blank ones at the end."""
    lines = [line.strip() for line in read_text(path, problems).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InvalidInputError(f"{path.name} is empty; it has to hold one SQL a line")
    return lines


def unknown_database(name: str, known: Collection[str]) -> str:
    hint = nearest_name(name, known) or f"; known are {len(known)} others"
    return f"no database is called {name!r}{hint}"


def nearest_name(name: str, known: Collection[str]) -> str:
    # A name that differs only in case comes before similar ones.
    near = [one for one in known if one.casefold() == name.casefold()] or get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
