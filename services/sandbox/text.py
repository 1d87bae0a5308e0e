"""SQL as text: blanks, comments, quoted things. Nothing here decides what a statement means to SQLite."""

import re
from collections.abc import Iterator
from itertools import islice

# Blank is what SQLite takes for blank. A no-break space is a letter to it, so that `;` and one of those is a second
# statement; a byte order mark is blank wherever it stands.
TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*(?:(?!\*/).)*(?:\*/|\Z))"
    r"|(?P<quoted>'[^']*(?:''[^']*)*(?:'|\Z)|\"[^\"]*(?:\"\"[^\"]*)*(?:\"|\Z)|`[^`]*(?:``[^`]*)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"
    r"|(?P<blank>[ \t\n\f\r\ufeff]+)"
    r"|(?P<word>\w+)"
    r"|(?P<other>.)",
    re.DOTALL,
)


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """(kind, text) for every stretch of the text; the texts joined give the whole back."""
    for match in TOKEN.finditer(sql):
        yield str(match.lastgroup), match.group()


def only_blank(sql: str) -> bool:
    """Whether there is nothing to run: blanks, comments and semicolons only."""
    return all(kind in ("blank", "comment") or text == ";" for kind, text in tokens(sql))


def first_words(sql: str, count: int = 4, most: int = 80) -> str:
    """The first tokens of a text, to name it in a message."""
    words = (text for kind, text in tokens(sql) if kind not in ("blank", "comment") and text != ";")
    return " ".join(islice(words, count))[:most]


def one_line(sql: str) -> str:
    """The text on one line with single spaces and without comments; quoted things are left as they are."""
    parts = [" " if kind in ("blank", "comment") else text for kind, text in tokens(sql)]
    line = ""
    for part in parts:
        line += "" if part == " " and line.endswith(" ") else part
    return line.strip()


def has_outer_order_by(sql: str) -> bool:
    """Whether ORDER BY stands outside all parentheses: a scan for text that no parser reads."""
    depth, previous = 0, ""
    for kind, text in tokens(sql):
        if kind in ("blank", "comment"):
            continue
        depth += {"(": 1, ")": -1}.get(text, 0)
        if depth == 0 and kind == "word" and text.lower() == "by" and previous == "order":
            return True
        previous = text.lower() if kind == "word" else ""
    return False
