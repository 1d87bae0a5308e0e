"""Names in double quotes that SQLite reads as strings: run as SQLite runs them, but told.

213 of the 1,034 golds of Spider's dev set need this; in a model's answer it often hides a column that is not there.
"""

import apsw

from services.sandbox.text import tokens

BEFORE, AFTER = 'no such column: "', '" - should this be a string literal'
MOST = 16


def suggests_string(message: str) -> bool:
    """Whether SQLite's message says that a name in double quotes may be meant as a string."""
    return suggested(message) is not None


def suggested(message: str) -> str | None:
    """The name that SQLite's message speaks of."""
    begin, end = message.find(BEFORE) + len(BEFORE), message.rfind(AFTER)
    return message[begin:end] if len(BEFORE) <= begin <= end else None


def flagged_tokens(sqlite: apsw.Connection, sql: str, message: str) -> list[str]:
    """The names that no table has, in order and without their quotes: the first stands in `message`.

    Each is turned into a string and the text compiled (not run) again, with the fallback off, until it compiles.
    """
    found: list[str] = []
    while (name := suggested(message)) is not None and len(found) < MOST:
        if name in found:
            break
        found.append(name)
        sql = as_string(sql, name)
        message = compile_only(sqlite, sql)
    return found


def as_string(sql: str, name: str) -> str:
    """The text with the double-quoted `name` as a string in single quotes."""
    literal = "'" + name.replace("'", "''") + "'"
    if "'" not in sql and '"' not in name:
        return sql.replace(f'"{name}"', literal)
    return "".join(
        literal if kind == "quoted" and text[0] == '"' and text[1:-1].replace('""', '"') == name else text
        for kind, text in tokens(sql)
    )


def compile_only(sqlite: apsw.Connection, sql: str) -> str:
    """SQLite's complaint about the text, empty when there is none; nothing is run."""
    cursor = sqlite.cursor()
    cursor.exec_trace = lambda *_: False
    try:
        cursor.execute(sql)
    except apsw.ExecTraceAbort:
        return ""
    except (apsw.Error, MemoryError) as error:
        return str(error)
    return ""
