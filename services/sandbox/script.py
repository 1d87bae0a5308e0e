"""A script as people have it (a dump, a schema file), cut into what is run and what is left out."""

import re
from dataclasses import dataclass

from services.sandbox.build_rules import ALLOWED
from services.sandbox.text import first_words, only_blank, tokens
from shared.contracts.records import DatabaseScript
from shared.errors import InvalidInputError

CODE = "invalid_ddl"
# Statements of dumps that say nothing about what a query sees. What else is not run is an error of the script.
HARMLESS = re.compile(r"BEGIN|COMMIT|PRAGMA|ANALYZE|SET|CREATE (TEMP |TEMPORARY )?(VIEW|TRIGGER)|DROP|END|USE")


@dataclass(frozen=True)
class Split:
    """The script, and the first words of statements that are left out."""

    script: DatabaseScript
    skipped: list[str]


def split_script(text: str) -> Split:
    """Raises InvalidInputError (code invalid_ddl) where no CREATE TABLE is left."""
    ddl: list[str] = []
    inserts: list[str] = []
    skipped: list[str] = []
    for statement in statements(text):
        words = " ".join(first_words(statement, 3).upper().split())
        if HARMLESS.match(words) and not ALLOWED.match(words):
            skipped.append(first_words(statement))
        else:
            (inserts if words.startswith(("INSERT", "REPLACE")) else ddl).append(statement)
    if not any(first_words(one, 2).upper().startswith("CREATE TABLE") for one in ddl):
        raise InvalidInputError("the DDL holds no CREATE TABLE statement", code=CODE)
    return Split(DatabaseScript(ddl=ddl, inserts=inserts), skipped)


def statements(text: str) -> list[str]:
    """Cut at semicolons outside quotes and comments; a trigger's body stays in one piece."""
    found: list[str] = []
    parts: list[str] = []
    words: list[str] = []
    depth = 0
    for kind, piece in tokens(text):
        if kind == "word":
            words.append(piece.upper())
            if "TRIGGER" in words[:3]:
                depth += (piece.upper() in ("BEGIN", "CASE")) - (piece.upper() == "END")
        if piece == ";" and depth <= 0:
            found.append("".join(parts))
            parts, words, depth = [], [], 0
        else:
            parts.append(piece)
    found.append("".join(parts))
    return [one.strip() for one in found if not only_blank(one)]
