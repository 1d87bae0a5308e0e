"""Whether a gold's order of rows matters."""

import logging
from functools import lru_cache

from services.sandbox.text import has_outer_order_by


@lru_cache(maxsize=4096)
def order_matters(sql: str) -> bool:
    """Whether the outermost query has ORDER BY: by sqlglot's tree, or by a scan of a text that it cannot read."""
    import sqlglot

    try:
        logging.getLogger("sqlglot").setLevel(logging.ERROR)
        tree = sqlglot.parse_one(sql, dialect="sqlite")
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError, AttributeError):
        return has_outer_order_by(sql)
    return tree.args.get("order") is not None
