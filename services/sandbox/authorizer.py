"""What SQL may do: an allow-list, asked by SQLite while it compiles a statement."""

from collections.abc import Callable

import apsw

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

READ_ACTIONS = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE})
# random and its kin would make a verdict depend on the run; the others reach outside the query.
DENIED_FUNCTIONS = frozenset(
    {"load_extension", "random", "randomblob", "fts3_tokenizer", "fts5", "writefile", "readfile"}
)
SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema"})
OPEN_TABLES = SCHEMA_TABLES | {"json_each", "json_tree", ""}
BUILD_ACTIONS = frozenset(
    {apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_REINDEX, apsw.SQLITE_INSERT} | READ_ACTIONS
)


class Gate:
    """Remembers what it refused last, so that the outcome can name it."""

    def __init__(self) -> None:
        self.denied: str | None = None

    def refuse(self, action: int, first: str | None, second: str | None) -> int:
        """Note the refusal and give SQLite its answer."""
        name = str(apsw.mapping_authorizer_function[action]).removeprefix("SQLITE_").replace("_", " ").lower()
        subject = second if action == apsw.SQLITE_FUNCTION else first
        self.denied = f"{name} {subject}" if subject else name
        return int(apsw.SQLITE_DENY)

    def reading(self, tables: frozenset[str], modules: frozenset[str]) -> Authorizer:
        """Only queries, only over `tables`, the schema table and JSON's table-valued functions (names in lower case).

        SQLite asks with an empty column for whatever gives no column, and then a CTE's name looks like a table's: such
        a name passes unless it is one of SQLite's built-in `modules`.
        """
        allowed = tables | OPEN_TABLES

        def readable(name: str, column: str | None) -> bool:
            built_in = name in modules or name.startswith("pragma_")
            return name in allowed or (not column and not built_in)

        def decide(action: int, first: str | None, second: str | None, _base: str | None, _inner: str | None) -> int:
            if action in READ_ACTIONS:
                return int(apsw.SQLITE_OK)
            if action == apsw.SQLITE_PRAGMA and first == "data_version":  # full-text search asks for it
                return int(apsw.SQLITE_OK)
            if action == apsw.SQLITE_READ and readable((first or "").lower(), second):
                return int(apsw.SQLITE_OK)
            if action == apsw.SQLITE_FUNCTION and (second or "").lower() not in DENIED_FUNCTIONS:
                return int(apsw.SQLITE_OK)
            return self.refuse(action, first, second)

        return decide

    def building(self) -> Authorizer:
        """Only CREATE TABLE, CREATE INDEX and INSERT, and what SQLite itself does for them."""

        def decide(action: int, first: str | None, second: str | None, base: str | None, _inner: str | None) -> int:
            if base == "temp":
                return self.refuse(action, first, second)
            if action in BUILD_ACTIONS or action == apsw.SQLITE_READ:
                return int(apsw.SQLITE_OK)
            if action == apsw.SQLITE_UPDATE and first in SCHEMA_TABLES:
                return int(apsw.SQLITE_OK)
            if action == apsw.SQLITE_FUNCTION and (second or "").lower() not in DENIED_FUNCTIONS:
                return int(apsw.SQLITE_OK)
            return self.refuse(action, first, second)

        return decide
