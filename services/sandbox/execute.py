"""One SQL on one file, without a cluster: what `sense execute` prints."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from services.sandbox.limits import Limits
from services.sandbox.pool import SandboxPool


def execute_once(database: Path, sql: str, *, deadline_s: float = 2.0, max_rows: int = 100) -> dict[str, Any]:
    """Outcome, rows (at most `max_rows`), columns, row_count (of the whole result), truncated, elapsed_ms, message.

    Raises NotFoundError or InvalidInputError for a file, deadline or row limit that cannot be used.
    """
    with SandboxPool(children=1, limits=replace(Limits(), deadline_s=deadline_s)) as pool:
        execution = pool.execute(database, sql, keep_rows=max_rows)
    return {
        "outcome": execution.outcome.value,
        "rows": execution.rows,
        "columns": execution.columns,
        "row_count": execution.row_count,
        "truncated": execution.truncated,
        "elapsed_ms": execution.elapsed_ms,
        "message": execution.message,
    }
