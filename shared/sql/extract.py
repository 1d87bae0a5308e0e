"""Finds the SQL in what a model answered; an answer without one is an outcome of its own, never a guess."""

import re

FENCE = re.compile(r"```[ \t]*(?:sql|sqlite)?[ \t]*\n?(.*?)(?:```|\Z)", re.IGNORECASE | re.DOTALL)
START = re.compile(r"\b(?:SELECT|WITH)\b", re.IGNORECASE)
QUOTED_OR_END = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|;")


def cut_statement(text: str) -> str:
    """The text up to its first semicolon outside quotes."""
    for match in QUOTED_OR_END.finditer(text):
        if match.group() == ";":
            return text[: match.start()]
    return text


def extract_sql(answer: str) -> str | None:
    """The first SELECT or WITH statement of an answer: inside a code fence where there is one, else in the text.

    Prose after an empty line is left out. None when no statement begins anywhere.
    """
    fenced = FENCE.search(answer)
    text = fenced.group(1) if fenced and START.search(fenced.group(1)) else answer
    start = START.search(text)
    if start is None:
        return None
    body = text[start.start() :].split("\n\n", 1)[0]
    return cut_statement(body).strip() or None
