"""The program that SQLite compiles a SQL into, as a hash: two texts with one program are one query.

EXPLAIN, not EXPLAIN QUERY PLAN: MAX and MIN of a column have the same plan and different programs. The child imports
this; nothing is run but EXPLAIN itself, behind the same authorizer and limits as a query.
"""

import hashlib
import json
import re
from typing import Any

import apsw

from services.sandbox.connection import ReadConnection, quoted_strings
from services.sandbox.outcomes import classify
from services.sandbox.quoted import suggests_string

Instruction = tuple[Any, ...]
OPCODE, P3, P4 = 1, 4, 5
POINTER = re.compile(r"\b(vtab:)[0-9A-Fa-fx]+")
# EXPLAIN shows the bytes of no blob: programs that hold one cannot be told apart.
OPAQUE = frozenset({"Blob"})


def compile_program(connection: ReadConnection, sql: str) -> dict[str, Any]:
    """The reply for one text: `program` where it compiles and EXPLAIN tells all of it; never rows."""
    try:
        instructions = explained(connection, sql)
    except (apsw.Error, MemoryError, UnicodeDecodeError) as error:
        failure = classify(error, connection.gate.denied)
        return {"outcome": failure.outcome, "message": failure.message}
    return {"outcome": "ok", "program": program_hash(instructions)}


def explained(connection: ReadConnection, sql: str) -> list[Instruction]:
    """EXPLAIN's rows. Names in double quotes are read as strings where no column has them, as in a query's run."""
    connection.gate.denied = None
    try:
        return list(connection.sqlite.cursor().execute(f"EXPLAIN {sql}"))
    except apsw.Error as error:
        if not suggests_string(str(error)):
            raise
    quoted_strings(connection.sqlite, True)
    try:
        return list(connection.sqlite.cursor().execute(f"EXPLAIN {sql}"))
    finally:
        quoted_strings(connection.sqlite, False)


def program_hash(instructions: list[Instruction]) -> str | None:
    """Hex; None where EXPLAIN hides a part of the program."""
    if any(row[OPCODE] in OPAQUE for row in instructions):
        return None
    text = json.dumps([normalised(row) for row in instructions], default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def normalised(row: Instruction) -> list[Any]:
    """Address, opcode, p1 to p5: addresses and p4's text stay.

    Left out: the comment, which only some builds of SQLite write; the schema's cookie and generation in Transaction,
    which say when the file was opened; pointers of virtual tables.
    """
    kept = list(row[:7])
    if kept[OPCODE] == "Transaction":
        kept[P3] = kept[P4] = None
    elif isinstance(kept[P4], str):
        kept[P4] = POINTER.sub(r"\1", kept[P4])
    return kept
