"""SQL comments beside the columns of a CREATE TABLE: what a schema's author wrote for its readers."""

from collections.abc import Iterator

from services.sandbox.text import tokens

COMMENT_CHARS = 200
# A part of the list that begins with one of these is no column.
CONSTRAINTS = frozenset({"constraint", "primary", "unique", "check", "foreign"})
Found = tuple[str | None, dict[str, str]]


def comments(sql: str) -> Found:
    """The table's comment and those of its columns, by name in lower case.

    A comment on the line of a column belongs to it, one on a line of its own to the next column; what stands before
    the first column's line belongs to the table.
    """
    reader = Reader()
    for kind, text, fresh in with_lines(sql):
        if kind == "comment":
            reader.comment(bare(text), fresh)
        elif kind != "blank":
            reader.token(kind, text)
    beside = {name: joined(lines) for name, lines in reader.columns.items()}
    return joined(reader.table), {name: said for name, said in beside.items() if said}


class Reader:
    """Walks over one statement; `depth` counts parentheses."""

    def __init__(self) -> None:
        self.depth = 0
        self.table: list[str] = []
        self.columns: dict[str, list[str]] = {}
        self.waiting: list[str] = []
        self.current: list[str] | None = None  # of the column on this line
        self.begins = False  # the next token begins a part of the list

    def token(self, kind: str, text: str) -> None:
        """Anything but blanks and comments."""
        if text == "(" and self.depth == 0:
            self.begins, self.current = True, self.table
        elif self.begins:
            self.begin(kind, text)
        elif text == "," and self.depth == 1:
            self.begins = True
        self.depth += {"(": 1, ")": -1}.get(text, 0)

    def begin(self, kind: str, text: str) -> None:
        """The first token of a part: a column's name, or a constraint's word."""
        self.begins = False
        if kind == "word" and text.lower() in CONSTRAINTS:
            self.current = None
        elif kind in ("word", "quoted"):
            self.current = self.columns.setdefault(unquoted(text).lower(), [])
            self.current += self.waiting
        self.waiting = []

    def comment(self, text: str, fresh: bool) -> None:
        """A comment; `fresh` says that it begins its line."""
        if self.depth == 0:
            self.table.append(text)
        elif not fresh:
            (self.waiting if self.current is None else self.current).append(text)
        elif self.begins:
            self.waiting.append(text)
        elif self.current is not None:
            self.current.append(text)


def with_lines(sql: str) -> Iterator[tuple[str, str, bool]]:
    """Tokens, each with whether it is the first of its line."""
    fresh = False
    for kind, text in tokens(sql):
        yield kind, text, fresh
        if kind == "blank":
            fresh = fresh or "\n" in text
        else:
            fresh = False


def bare(text: str) -> str:
    """A comment without its marks, on one line."""
    inner = text[2:] if text.startswith("--") else text[2:].removesuffix("*/")
    return " ".join(inner.strip("-* \t\r\n").split())


def unquoted(name: str) -> str:
    """A name without its quotes."""
    if name[0] in "\"`'" and name[-1] == name[0]:
        return name[1:-1].replace(name[0] * 2, name[0])
    return name[1:-1] if name[0] == "[" else name


def joined(lines: list[str]) -> str | None:
    """The lines as one text, clipped; None where there is nothing in them."""
    text = " ".join(line for line in lines if line)
    return (text if len(text) <= COMMENT_CHARS else text[: COMMENT_CHARS - 1] + "…") or None
