"""What SQL may do: an allow-list that SQLite consults while it compiles a statement."""

from collections.abc import Callable

import apsw

OK = int(apsw.SQLITE_OK)
MOST_REMEMBERED = 10_000
AuthorizerCallback = Callable[[int, str | None, str | None, str | None, str | None], int]

READ_ACTIONS = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE})
# These would make a verdict depend on the run.
RANDOM_FUNCTIONS = frozenset({"random", "randomblob"})
# These reach outside the query: files, pointers, logs, and checks that run statements of their own.
ESCAPING_FUNCTIONS = frozenset(
    {
        "load_extension",
        "fts3_tokenizer",
        "fts5",
        "writefile",
        "readfile",
        "edit",
        "sqlite_log",
        "geopoly_debug",
        "rtreecheck",
    }
)
DENIED_FUNCTIONS = RANDOM_FUNCTIONS | ESCAPING_FUNCTIONS
# These may read the clock, depending on their arguments.
DATE_FUNCTIONS = frozenset(
    {"date", "time", "datetime", "julianday", "strftime", "unixepoch", "timediff"}
    | {"current_date", "current_time", "current_timestamp"}
)
# Tables that SQLite has without any CREATE. carray is in no list of modules until it is used.
BUILT_IN_TABLES = frozenset(
    {"dbstat", "fts3tokenize", "carray", "sqlite_dbpage", "sqlite_stmt", "bytecode", "tables_used"}
)
SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema"})
OPEN_TABLES = SCHEMA_TABLES | {"json_each", "json_tree", ""}
BUILD_ACTIONS = frozenset(
    {apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_REINDEX, apsw.SQLITE_INSERT} | READ_ACTIONS
)


def is_built_in_table(name: str) -> bool:
    return name in BUILT_IN_TABLES or name.startswith("pragma_")


class Authorizer:
    """Remembers what it refused last, to name it in the outcome, and (`watch_dates`) if there are date functions."""

    def __init__(self, *, watch_dates: bool = False) -> None:
        self.denied: str | None = None
        self.by_chance = False
        self.dates = False
        self._watched = DATE_FUNCTIONS if watch_dates else frozenset()

    def forget(self) -> None:
        self.denied, self.by_chance, self.dates = None, False, False

    def refuse(self, action: int, first: str | None, second: str | None) -> int:
        name = str(apsw.mapping_authorizer_function[action]).removeprefix("SQLITE_").replace("_", " ").lower()
        subject = second if action == apsw.SQLITE_FUNCTION else first
        self.by_chance = action == apsw.SQLITE_FUNCTION and (second or "").lower() in RANDOM_FUNCTIONS
        self.denied = f"{name} {subject}" if subject else name
        return int(apsw.SQLITE_DENY)

    def reading(self, tables: frozenset[str], modules: frozenset[str]) -> AuthorizerCallback:
        """Allow queries over `tables`, the schema table and the table-valued functions of JSON only (names in lower
        case).

        SQLite asks with an empty column when no column is used, and then the name of a CTE looks like that of a table:
        such a name passes unless it is one of SQLite's built-in `modules`. A table of the file with a built-in name
        opens no way to the built-in one: `temp.dbstat` would bypass the file's.
        """
        allowed = frozenset(name for name in tables if not is_built_in_table(name)) | OPEN_TABLES

        def readable(name: str, column: str | None) -> bool:
            return name in allowed or (not column and name not in modules and not is_built_in_table(name))

        def permits(action: int, first: str | None, second: str | None) -> bool:
            if action == apsw.SQLITE_READ:
                return readable((first or "").lower(), second)
            if action == apsw.SQLITE_FUNCTION:
                return (second or "").lower() not in DENIED_FUNCTIONS
            # full-text search reads the data version
            return action in READ_ACTIONS or (action == apsw.SQLITE_PRAGMA and first == "data_version")

        permitted: set[tuple[int, str | None, str | None]] = set()  # a cache: SQLite asks about ten times per query

        def decide(action: int, first: str | None, second: str | None, _base: str | None, _inner: str | None) -> int:
            if (action, first, second) in permitted:
                return OK
            if not permits(action, first, second):
                return self.refuse(action, first, second)
            # never cached: each statement must set `dates` anew
            if action == apsw.SQLITE_FUNCTION and (second or "").lower() in self._watched:
                self.dates = True
            elif len(permitted) < MOST_REMEMBERED:
                permitted.add((action, first, second))
            return OK

        return decide

    def building(self) -> AuthorizerCallback:
        def decide(action: int, first: str | None, second: str | None, base: str | None, _inner: str | None) -> int:
            if base == "temp":
                return self.refuse(action, first, second)
            if action in BUILD_ACTIONS or action == apsw.SQLITE_READ:
                return int(apsw.SQLITE_OK)
            # SQLite writes the entry of a new table or index this way
            if action == apsw.SQLITE_UPDATE and first in SCHEMA_TABLES:
                return int(apsw.SQLITE_OK)
            if action == apsw.SQLITE_FUNCTION and (second or "").lower() not in DENIED_FUNCTIONS:
                return int(apsw.SQLITE_OK)
            return self.refuse(action, first, second)

        return decide
