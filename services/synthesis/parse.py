"""Reads a strong model's answer: forgives fences, headings in bold and extra words, rejects the rest with a reason."""

import re
from dataclasses import dataclass

from shared.contracts.records import DatabaseScript
from shared.sql.extract import extract_sql

HEADING = re.compile(r"^[\s#*>\d.)-]*(domain|schema|question|answer)\b[\s*]*:[\s*]*", re.IGNORECASE | re.MULTILINE)
FENCE_LINE = re.compile(r"^\s*```.*$", re.MULTILINE)
STATEMENT_PART = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|;", re.DOTALL)
LEADING_COMMENTS = re.compile(r"\A(?:\s*(?:--[^\n]*(?:\n|\Z)|/\*.*?\*/))*\s*", re.DOTALL)
PARTS = ("domain", "schema", "question", "answer")


class UnparsableError(ValueError):
    """The answer holds no example; the text is the reason."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The four parts of the paper's form."""

    domain: str
    script: DatabaseScript
    question: str
    sql: str


def split_statements(text: str) -> list[str]:
    """Statements of a script, cut at semicolons outside quotes and comments."""
    statements, begin = [], 0
    for match in STATEMENT_PART.finditer(text):
        if match.group() == ";":
            statements.append(text[begin : match.start()].strip())
            begin = match.end()
    statements.append(text[begin:].strip())
    return [statement for statement in statements if statement]


def split_parts(text: str) -> dict[str, str]:
    """The text under each heading; the first heading of a name counts."""
    headings = list(HEADING.finditer(text))
    begins = [match.start() for match in headings]
    parts: dict[str, str] = {}
    for match, end in zip(headings, [*begins[1:], len(text)], strict=False):
        parts.setdefault(match.group(1).lower(), text[match.end() : end].strip())
    return parts


def read_script(text: str) -> DatabaseScript:
    """DDL and inserts of the schema part."""
    statements = [LEADING_COMMENTS.sub("", one) for one in split_statements(FENCE_LINE.sub("", text))]
    ddl = [one for one in statements if one.upper().startswith("CREATE")]
    inserts = [one for one in statements if one.upper().startswith("INSERT")]
    if not ddl:
        raise UnparsableError("the schema part holds no CREATE TABLE statement")
    if not inserts:
        raise UnparsableError("the schema part holds no INSERT statement")
    return DatabaseScript(ddl=ddl, inserts=inserts)


def parse_answer(text: str) -> ParsedAnswer:
    """The example in an answer. Raises `UnparsableError` with the reason."""
    parts = split_parts(text)
    missing = [name for name in PARTS if not parts.get(name)]
    if missing:
        raise UnparsableError(f"the answer lacks {', '.join(missing)}")
    sql = extract_sql(parts["answer"])
    if sql is None:
        raise UnparsableError("the answer part holds no SELECT statement")
    question = " ".join(FENCE_LINE.sub("", parts["question"]).split())
    domain = parts["domain"].splitlines()[0].strip(" *.")[:80]
    return ParsedAnswer(domain=domain, script=read_script(parts["schema"]), question=question, sql=sql)
