"""Tables, views, columns, keys, comments and first rows of a database, read inside the child.

What cannot be read is left out and named: one unreadable table or view never costs the rest.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from services.sandbox.execution.connection import ReadConnection, fetch_all, observed_clock, quote_identifier
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.outcomes import classify_error, shorten_message
from services.sandbox.execution.sql_text import one_line
from services.sandbox.judging.comparison import shown_cell
from shared.sql.tokens import tokens

COMMENT_CHARS = 200
# A part of the list that begins with one of these is not a column.
CONSTRAINTS = frozenset({"constraint", "primary", "unique", "check", "foreign"})
Comments = tuple[str | None, dict[str, str]]


def read_comments(sql: str) -> Comments:
    """The table's comment and those of its columns, by name in lower case.

    A comment on a column's line belongs to that column, one on a line by itself to the next column, and what stands
    before the first column's line to the table.
    """
    reader = CommentReader()
    for kind, text, fresh in with_lines(sql):
        if kind == "comment":
            reader.comment(strip_comment(text), fresh)
        elif kind != "blank":
            reader.token(kind, text)
    by_column = {name: join_lines(lines) for name, lines in reader.columns.items()}
    return join_lines(reader.table), {name: text for name, text in by_column.items() if text}


class CommentReader:
    """Walks over the tokens of one CREATE TABLE; `depth` counts parentheses."""

    def __init__(self) -> None:
        self.depth = 0
        self.table: list[str] = []
        self.columns: dict[str, list[str]] = {}
        self.waiting: list[str] = []
        self.current: list[str] | None = None  # of the column on this line
        self.begins = False  # the next token begins a part of the list

    def token(self, kind: str, text: str) -> None:
        if text == "(" and self.depth == 0:
            self.begins, self.current = True, self.table
        elif self.begins:
            self.begin(kind, text)
        elif text == "," and self.depth == 1:
            self.begins = True
        self.depth += {"(": 1, ")": -1}.get(text, 0)

    def begin(self, kind: str, text: str) -> None:
        self.begins = False
        if kind == "word" and text.lower() in CONSTRAINTS:
            self.current = None
        elif kind in ("word", "quoted"):
            self.current = self.columns.setdefault(unquote(text).lower(), [])
            self.current += self.waiting
        self.waiting = []

    def comment(self, text: str, fresh: bool) -> None:
        """`fresh` is true when the comment begins its line."""
        if self.depth == 0:
            self.table.append(text)
        elif not fresh:
            (self.waiting if self.current is None else self.current).append(text)
        elif self.begins:
            self.waiting.append(text)
        elif self.current is not None:
            self.current.append(text)


def with_lines(sql: str) -> Iterator[tuple[str, str, bool]]:
    fresh = False
    for kind, text in tokens(sql):
        yield kind, text, fresh
        if kind == "blank":
            fresh = fresh or "\n" in text
        else:
            fresh = False


def strip_comment(text: str) -> str:
    inner = text[2:] if text.startswith("--") else text[2:].removesuffix("*/")
    return " ".join(inner.strip("-* \t\r\n").split())


def unquote(name: str) -> str:
    if name[0] in "\"`'" and name[-1] == name[0]:
        return name[1:-1].replace(name[0] * 2, name[0])
    return name[1:-1] if name[0] == "[" else name


def join_lines(lines: list[str]) -> str | None:
    text = " ".join(line for line in lines if line)
    return (text if len(text) <= COMMENT_CHARS else text[: COMMENT_CHARS - 1] + "…") or None


TABLES = """SELECT m.name, m.sql, l.type FROM sqlite_master AS m
JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = m.name
WHERE m.type = 'table' AND l.type IN ('table', 'virtual') AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
ORDER BY m.rowid"""
VIEWS = "SELECT name, sql, 'view' FROM sqlite_master WHERE type = 'view' ORDER BY rowid"
VIEW_LOOKS = 5_000  # calls of the progress handler: how much work a view's first rows may take, on any machine
VIEW_ROWS = 5
COLUMNS = 'SELECT name, type, pk, "notnull" FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid'
KEYS = 'SELECT id, seq, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq'
CARD_CELL_CHARS = 200
SAMPLE_CHARS = 60
SAMPLES = 3
SCANNED_ROWS = 200
COLUMNS_AT_ONCE = 200  # a statement has room for 2,000 expressions, and a table may have as many columns
TOO_LONG = "…"
# (kind, value): 804 bytes hold more than 200 characters of any length, so the cut does not change what is shown
CELL = """CASE WHEN octet_length({cell}) > {longest} THEN 'long' ELSE typeof({cell}) END,
CASE WHEN octet_length({cell}) > {longest} THEN '…'
WHEN typeof({cell}) = 'text' THEN substr(CAST({cell} AS BLOB), 1, 804)
WHEN typeof({cell}) = 'blob' THEN substr({cell}, 1, 804) ELSE {cell} END"""


def describe(connection: ReadConnection, sample_rows: int, limits: Limits) -> dict[str, Any]:
    # the statements below are not hostile and read what the authorizer forbids
    guard = connection.sqlite.authorizer
    connection.sqlite.authorizer = None
    try:
        warnings = [
            f"the database sorts by {shown_name(collation)}, a collation that only the program which wrote it has: SQL "
            "that compares or orders such columns fails, all other SQL runs"
            for collation in connection.foreign
        ]
        entries = list(schema_entries(connection.sqlite, warnings))
        tables, views = [], []
        for name, sql, kind in entries:
            if kind == "view":
                views.append(describe_view(connection, name, sql, sample_rows, limits, warnings))
            else:
                tables.append(try_table(connection.sqlite, name, sql, kind, sample_rows, warnings))
        found = {
            "tables": [one for one in tables if one is not None],
            "views": [one for one in views if one is not None],
        }
        return {**found, "warnings": warnings}
    except (apsw.Error, MemoryError, UnicodeDecodeError) as error:
        failure = classify_error(error)
        return {"outcome": failure.outcome, "message": failure.message}
    finally:
        connection.sqlite.authorizer = guard


def schema_entries(sqlite: apsw.Connection, warnings: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, SQL, kind) of tables, then of views. A name that is not UTF-8 is left out: no SQL can name it."""
    for sql in (TABLES, VIEWS):
        rows = sqlite.execute(sql)
        while True:
            try:
                name, text, kind = next(rows)
                yield str(name), str(text), str(kind)
            except UnicodeDecodeError:
                warnings.append("a table or view is left out: its CREATE statement is not UTF-8")
            except StopIteration:
                break


def try_table(
    sqlite: apsw.Connection, name: str, sql: str, kind: str, sample_rows: int, warnings: list[str]
) -> dict[str, Any] | None:
    """One table, or None for one that no query can read, such as a virtual one without its module."""
    try:
        return describe_table(sqlite, name, sql, sample_rows, warnings)
    except apsw.SQLError as error:
        what = "virtual table" if kind == "virtual" else "table"
        warnings.append(f"{what} {shown_name(name)} cannot be read and is left out ({shorten_message(str(error))})")
        return None


def shown_name(name: str) -> str:
    return name if name.isidentifier() else repr(name[:80])


def describe_view(
    connection: ReadConnection, name: str, sql: str, sample_rows: int, limits: Limits, warnings: list[str]
) -> dict[str, Any] | None:
    """One view, or None for one that cannot be read, such as one whose table is gone.

    A view is a query by a stranger: it runs as a query does, and its first rows are shown if they are cheap and do not
    depend on the time.
    """
    inside = connection.observed()
    try:
        declared = fetch_all(connection.sqlite, COLUMNS, name)
        # LIMIT 0 compiles the view without reading a row
        fetch_all(inside.sqlite, f"SELECT * FROM {quote_identifier(name)} LIMIT 0")
    except (apsw.Error, UnicodeDecodeError) as error:
        reason = classify_error(error, inside.authorizer.denied).message
        warnings.append(f"view {shown_name(name)} cannot be read and is left out ({reason})")
        return None
    try:
        rows = view_rows(inside, name, [column[0] for column in declared], limits)
    except (apsw.Error, MemoryError) as error:
        # the deadline of the whole card ends it; the bound on steps costs only these rows
        connection.clock.check()
        late = isinstance(error, apsw.InterruptError)
        reason = "it takes long to read" if late else classify_error(error, inside.authorizer.denied).message
        warnings.append(f"the first rows of view {shown_name(name)} are not shown: {reason}")
        rows = []
    comment, by_column = read_comments(sql)
    return {
        "name": name,
        "ddl": one_line(sql),
        "columns": [
            {
                "name": column,
                "type": str(kind or "").upper(),
                "comment": by_column.get(column.lower()),
                "samples": first_distinct(row[place] for row in rows),
            }
            for place, (column, kind, _, _) in enumerate(declared)
        ],
        "sample_rows": rows[:sample_rows],
        "comment": comment,
    }


def view_rows(connection: ReadConnection, name: str, columns: list[str], limits: Limits) -> list[list[Any]]:
    """The view's first rows; none if SQLite read the time.

    Work is bounded in steps, not in seconds, so that every machine produces the same card.
    """
    sqlite, looks = connection.sqlite, 0

    def enough() -> bool:
        nonlocal looks
        looks += 1
        return looks > VIEW_LOOKS

    cells = ", ".join(CELL.format(cell=quote_identifier(column), longest=limits.value_bytes) for column in columns)
    observed_clock().hold(None)
    sqlite.set_progress_handler(enough, limits.progress_steps, id=enough)
    try:
        rows = fetch_all(sqlite, f"SELECT {cells} FROM {quote_identifier(name)} LIMIT ?", VIEW_ROWS)
    finally:
        sqlite.set_progress_handler(None, id=enough)
    if observed_clock().was_read:
        return []
    return [[sample_cell(row[2 * n], row[2 * n + 1]) for n in range(len(columns))] for row in rows]


def describe_table(
    sqlite: apsw.Connection, name: str, sql: str, sample_rows: int, warnings: list[str]
) -> dict[str, Any]:
    declared = fetch_all(sqlite, COLUMNS, name)
    names, most = [column[0] for column in declared], max(sample_rows, SCANNED_ROWS)
    try:
        rows = first_rows(sqlite, name, names, most)
    except apsw.SQLError:
        # find the columns at fault one by one
        unreadable: dict[str, str] = {}
        for column in names:
            try:
                fetch_all(sqlite, f"SELECT {quote_identifier(column)} FROM {quote_identifier(name)} LIMIT 0")
            except apsw.SQLError as error:
                unreadable[column] = shorten_message(str(error))
        if not unreadable:
            raise
        for column, reason in unreadable.items():
            warnings.append(f"column {shown_name(column)} of {shown_name(name)} cannot be read ({reason})")
        rows = first_rows(sqlite, name, names, most, frozenset(unreadable))
    comment, by_column = read_comments(sql)
    return {
        "name": name,
        "ddl": one_line(sql),
        "columns": [
            {
                "name": column,
                "type": str(kind or "").upper(),
                "primary_key": key > 0,
                "not_null": bool(required),
                "comment": by_column.get(column.lower()),
                "samples": first_distinct(row[place] for row in rows),
            }
            for place, (column, kind, key, required) in enumerate(declared)
        ],
        "foreign_keys": foreign_keys(sqlite, name),
        "row_count": fetch_all(sqlite, f"SELECT count(*) FROM {quote_identifier(name)}")[0][0],
        "sample_rows": rows[:sample_rows],
        "comment": comment,
    }


def foreign_keys(sqlite: apsw.Connection, name: str) -> list[dict[str, str]]:
    """In the order of declaration; a key that names no column means the other table's primary key."""
    found = []
    for _, place, other, column, target in fetch_all(sqlite, KEYS, name):
        to_column = target if target is not None else primary_key(sqlite, other, place)
        found.append({"column": column, "to_table": other, "to_column": to_column})
    return found


def primary_key(sqlite: apsw.Connection, name: str, place: int) -> str:
    keys = fetch_all(sqlite, "SELECT name FROM pragma_table_info(?) WHERE pk = ?", name, place + 1)
    return str(keys[0][0]) if keys else "rowid"


def first_rows(
    sqlite: apsw.Connection, name: str, columns: list[str], most: int, without: frozenset[str] = frozenset()
) -> list[list[Any]]:
    """The first rows in rowid order (in key order for a table without rowid), cells cut to what a card shows.

    SQLite cuts the cells, so long ones are never all in memory; one beyond SQLite's limit becomes `TOO_LONG`. Columns
    in `without` are NULL.
    """
    longest = sqlite.limit(apsw.SQLITE_LIMIT_LENGTH)
    found: list[list[Any]] = []
    for begin in range(0, len(columns), COLUMNS_AT_ONCE):
        part = columns[begin : begin + COLUMNS_AT_ONCE]
        cells = ", ".join(
            CELL.format(cell="NULL" if column in without else quote_identifier(column), longest=longest)
            for column in part
        )
        # NOT INDEXED keeps the order: an index that covers the columns would give another one
        rows = fetch_all(sqlite, f"SELECT {cells} FROM {quote_identifier(name)} NOT INDEXED LIMIT ?", most)
        shown = [[sample_cell(row[2 * n], row[2 * n + 1]) for n in range(len(part))] for row in rows]
        found = [[*before, *more] for before, more in zip(found, shown, strict=True)] if found else shown
    return found


def sample_cell(kind: str, value: Any) -> str | int | float | None:
    if value is None and kind in ("text", "blob"):  # substr() of nothing is NULL
        value = b""
    text = value.decode("utf-8", errors="replace") if kind == "text" else value
    return shown_cell(text, CARD_CELL_CHARS)


def first_distinct(cells: Iterable[Any]) -> list[Any]:
    found: dict[tuple[type, Any], Any] = {}
    for cell in cells:
        if cell is None or cell == TOO_LONG:
            continue
        shown = shown_cell(cell, SAMPLE_CHARS)
        found.setdefault((type(shown), shown), shown)
        if len(found) == SAMPLES:
            break
    return list(found.values())
