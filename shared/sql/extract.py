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


def extract_sql(answer: str) -> str | None:
    """The first SELECT or WITH statement of an answer: inside a code fence where there is one, else in the text.

    A statement that begins a line goes before a word inside a sentence. What a reasoning model thought aloud, and prose
    after an empty line, are left out. None when no statement begins anywhere.
    """
    spoken = THOUGHT.sub("", answer, count=1) if "</think>" in answer else answer
    fenced = next((found for found in FENCE.finditer(spoken) if START.search(found.group(1))), None)
    text = fenced.group(1) if fenced else spoken
    line = LINE_START.search(text)
    start = line.start("sql") if line else begin(text)
    if start is None:
        return None
    body = text[start:].split("\n\n", 1)[0]
    return cut_statement(body).strip() or None


def begin(text: str) -> int | None:
    """Where the first statement begins that stands inside a line."""
    found = START.search(text)
    return found.start() if found else None
