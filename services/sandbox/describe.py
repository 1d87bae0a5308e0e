"""Tables, columns, keys and first rows of a database, read inside the child."""

from collections.abc import Iterable
from typing import Any

import apsw

from services.sandbox.comments import comments
from services.sandbox.connection import ReadConnection
from services.sandbox.limits import Limits
from services.sandbox.outcomes import classify
from services.sandbox.results import view_cell
from services.sandbox.text import one_line

TABLES = """SELECT m.name, m.sql, l.type FROM sqlite_master AS m
JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = m.name
WHERE m.type = 'table' AND l.type IN ('table', 'virtual') AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
ORDER BY m.rowid"""
COLUMNS = 'SELECT name, type, pk, "notnull" FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid'
KEYS = 'SELECT id, seq, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq'
CARD_CELL_CHARS = 200
SAMPLE_CHARS = 60
SAMPLES = 3
SCANNED_ROWS = 200
TOO_LONG = "…"
# (kind, value): 804 bytes hold more than 200 characters of any length, so the cut does not change what is shown
CELL = """CASE WHEN octet_length({cell}) > {longest} THEN 'long' ELSE typeof({cell}) END,
CASE WHEN octet_length({cell}) > {longest} THEN '…'
WHEN typeof({cell}) = 'text' THEN substr(CAST({cell} AS BLOB), 1, 804)
WHEN typeof({cell}) = 'blob' THEN substr({cell}, 1, 804) ELSE {cell} END"""


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def describe(connection: ReadConnection, sample_rows: int, limits: Limits) -> dict[str, Any]:
    """The content of a schema card as plain data. These statements are ours, so the allow-list rests meanwhile."""
    guard = connection.sqlite.authorizer
    connection.sqlite.authorizer = None
    try:
        found = connection.sqlite.execute(TABLES).fetchall()
        tables = [readable(connection.sqlite, str(name), str(sql), str(kind), sample_rows) for name, sql, kind in found]
        return {"tables": [one for one in tables if one is not None]}
    except (apsw.Error, MemoryError, UnicodeDecodeError) as error:
        failure = classify(error)
        return {"outcome": failure.outcome, "message": failure.message}
    finally:
        connection.sqlite.authorizer = guard


def ask(sqlite: apsw.Connection, sql: str, *values: str | int) -> list[Any]:
    """All rows of one statement of ours."""
    return sqlite.execute(sql, values).fetchall()


def readable(sqlite: apsw.Connection, name: str, sql: str, kind: str, sample_rows: int) -> dict[str, Any] | None:
    """One table, or None for a virtual one whose module is not here: no query can read it either."""
    try:
        return table(sqlite, name, sql, sample_rows)
    except apsw.SQLError:
        if kind == "virtual":
            return None
        raise


def table(sqlite: apsw.Connection, name: str, sql: str, sample_rows: int) -> dict[str, Any]:
    """One table, as `TableCard` has it."""
    declared = ask(sqlite, COLUMNS, name)
    rows = first_rows(sqlite, name, [column[0] for column in declared], max(sample_rows, SCANNED_ROWS))
    said, beside = comments(sql)
    return {
        "name": name,
        "ddl": one_line(sql),
        "columns": [
            {
                "name": column,
                "type": str(kind or "").upper(),
                "primary_key": key > 0,
                "not_null": bool(required),
                "comment": beside.get(column.lower()),
                "samples": distinct(row[place] for row in rows),
            }
            for place, (column, kind, key, required) in enumerate(declared)
        ],
        "foreign_keys": foreign_keys(sqlite, name),
        "row_count": ask(sqlite, f"SELECT count(*) FROM {quoted(name)}")[0][0],
        "sample_rows": rows[:sample_rows],
        "comment": said,
    }


def foreign_keys(sqlite: apsw.Connection, name: str) -> list[dict[str, str]]:
    """In the order of their declaration; a key that names no column means the other table's primary key."""
    found = []
    for _, place, other, column, target in ask(sqlite, KEYS, name):
        to_column = target if target is not None else primary_key(sqlite, other, place)
        found.append({"column": column, "to_table": other, "to_column": to_column})
    return found


def primary_key(sqlite: apsw.Connection, name: str, place: int) -> str:
    """The column of the primary key at `place` (from 0); `rowid` where none is declared."""
    keys = ask(sqlite, "SELECT name FROM pragma_table_info(?) WHERE pk = ?", name, place + 1)
    return str(keys[0][0]) if keys else "rowid"


def first_rows(sqlite: apsw.Connection, name: str, columns: list[str], most: int) -> list[list[Any]]:
    """The first rows in rowid order (in key order where the table has no rowid), cells cut to what a card shows.

    Cells are cut by SQLite, so that long ones are never all in memory; one beyond SQLite's limit becomes `TOO_LONG`.
    """
    longest = sqlite.limit(apsw.SQLITE_LIMIT_LENGTH)
    cells = ", ".join(CELL.format(cell=quoted(column), longest=longest) for column in columns)
    rows = ask(sqlite, f"SELECT {cells} FROM {quoted(name)} NOT INDEXED LIMIT ?", most)
    return [[sample_cell(row[2 * n], row[2 * n + 1]) for n in range(len(columns))] for row in rows]


def sample_cell(kind: str, value: Any) -> str | int | float | None:
    """A cell for the card; text came as bytes. Text that is not UTF-8 is marked."""
    if value is None and kind in ("text", "blob"):  # substr() of nothing is NULL
        value = b""
    text = value.decode("utf-8", errors="replace") if kind == "text" else value
    return view_cell(text, CARD_CELL_CHARS)


def distinct(cells: Iterable[Any]) -> list[Any]:
    """The first few different values that are not NULL, clipped."""
    found: dict[tuple[type, Any], Any] = {}
    for cell in cells:
        if cell is None or cell == TOO_LONG:
            continue
        shown = view_cell(cell, SAMPLE_CHARS)
        found.setdefault((type(shown), shown), shown)
        if len(found) == SAMPLES:
            break
    return list(found.values())
