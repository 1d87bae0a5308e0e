"""Whether sqlglot reads a SQL as one query of SQLite's dialect."""

import logging


def unreadable(sql: str) -> str | None:
    """Why not, or None."""
    import sqlglot
    from sqlglot import exp

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="sqlite") if tree is not None]
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError, AttributeError) as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    queries = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    if len(queries) != 1:
        return f"there are {len(queries)} statements"
    return None if isinstance(queries[0], exp.Query) else f"{queries[0].key.upper()} is no query"
