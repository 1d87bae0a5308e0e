"""Finds the SQL in what a model answered; an answer without one is an outcome of its own, never a guess."""

import re

from shared.sql.tokens import tokens

THOUGHT = re.compile(r".*</think>", re.DOTALL)
FENCE = re.compile(r"```[ \t]*(?:sql|sqlite)?[ \t]*\n?(.*?)(?:```|\Z)", re.IGNORECASE | re.DOTALL)
# "with" begins many sentences, and a statement only where it names a table expression.
BEGIN = r"(?:SELECT\b|WITH\s+(?:RECURSIVE\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?AS\b)"
START = re.compile(rf"\b{BEGIN}", re.IGNORECASE)
LINE_START = re.compile(rf"^[ \t]*(?:(?:SQL|SQLite|Query|Answer)[ \t]*:[ \t]*)?(?P<sql>{BEGIN})", re.IGNORECASE | re.M)


def cut_statement(text: str) -> str:
    """The text up to its first semicolon outside quotes and comments."""
    end = 0
    for _, piece in tokens(text):
        if piece == ";":
            return text[:end]
        end += len(piece)
    return text


def extract_sql(answer: str, *, last: bool = False) -> str | None:
    """The first SELECT or WITH statement of an answer: inside a code fence where there is one, else in the text.

    A statement that begins a line goes before a word inside a sentence. What a reasoning model thought aloud, and prose
    after an empty line, are left out. None when no statement begins anywhere. With `last`, for answers that reason
    before they give their SQL: the last fence that holds a statement, else the last statement that begins a line.
    """
    found = stretch(answer, last)
    if found is None:
        return None
    begin, end = found
    body = answer[begin:end].split("\n\n", 1)[0]
    return cut_statement(body).strip() or None


def sql_begin(answer: str, *, last: bool = False) -> int | None:
    """Where in the answer the statement begins that `extract_sql` gives."""
    found = stretch(answer, last)
    return found[0] if found else None


def stretch(answer: str, last: bool) -> tuple[int, int] | None:
    """Where the statement begins, and where the text that it stands in ends."""
    thought = THOUGHT.match(answer) if "</think>" in answer else None
    spoken = thought.end() if thought else 0
    fenced = [one for one in FENCE.finditer(answer, spoken) if START.search(one.group(1))]
    if fenced:
        fence = fenced[-1 if last else 0]
        from_, to = fence.span(1)
    else:
        from_, to = spoken, len(answer)
    begin = start_in(answer[from_:to], last and not fenced)
    return None if begin is None else (from_ + begin, to)


def start_in(text: str, last: bool) -> int | None:
    """Where a statement begins: at the beginning of a line where there is such a one."""
    lines = LINE_START.finditer(text)
    line = max(lines, key=lambda one: one.start("sql"), default=None) if last else next(lines, None)
    if line is not None:
        return line.start("sql")
    found = START.search(text)
    return found.start() if found else None
