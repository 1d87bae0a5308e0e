"""Whether sqlglot reads a SQL as one query of SQLite's dialect."""

from shared.sql.parsed import parse_sql


def unreadable(sql: str) -> str | None:
    """Why not, or None."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        trees = parse_sql(sql)
    except SqlglotError as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    queries = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    if len(queries) != 1:
        return f"there are {len(queries)} statements"
    return None if isinstance(queries[0], exp.Query) else f"{queries[0].key.upper()} is no query"
