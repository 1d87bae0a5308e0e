"""The corpus as data; `corpus/README.md` says how a file is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
HEADER = re.compile(r"^-- attack: (?P<name>.+)\n-- expect: (?P<expect>.+)\n(?:-- message: (?P<message>.+)\n)?", re.M)
CHARACTER = re.compile(r"<<U\+([0-9A-F]{4,6})>>")
REPEATED = re.compile(r"<<(\d+) \* (.*?)>>", re.S)


@dataclass(frozen=True)
class Attack:
    """One hostile text; `message` is a pattern that the answer's message must hold."""

    name: str
    sql: str
    expect: frozenset[str]
    message: str | None

    def matches(self, said: str) -> bool:
        """Whether a message holds what it should."""
        return self.message is None or re.search(self.message, said) is not None


def expand(text: str) -> str:
    """The text with its two short forms written out."""
    text = CHARACTER.sub(lambda found: chr(int(found[1], 16)), text)
    return REPEATED.sub(lambda found: found[2] * int(found[1]), text)


def read_file(path: Path) -> Iterator[Attack]:
    """The attacks of one file, in order."""
    text = path.read_text(encoding="utf-8")
    headers = list(HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    for header, end in zip(headers, ends, strict=True):
        name = f"{path.parent.name}/{path.stem}/{header['name']}"
        sql = expand(text[header.end() : end].strip())
        yield Attack(name, sql, frozenset(header["expect"].split()), header["message"])


def read_corpus() -> list[Attack]:
    """Every attack, in the order of the files' names."""
    return [attack for path in sorted(CORPUS.glob("*/*.sql")) for attack in read_file(path)]
