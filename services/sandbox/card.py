"""Schema cards of database files."""

from pathlib import Path

from services.sandbox.pool import SandboxPool
from shared.catalog.databases import SchemaCard


def make_card(path: Path, database_id: str, *, sample_rows: int = 5, pool: SandboxPool | None = None) -> SchemaCard:
    """Tables and views in order of creation, DDL on one line, the first rows of each. A child reads the file, of `pool`
    if given.

    Raises NotFoundError or InvalidInputError naming the file.
    """
    if pool is not None:
        found = pool.describe_all(path, sample_rows)
        about = {name: found[name] for name in ("tables", "views", "warnings")}
        return SchemaCard.model_validate({"database_id": database_id, "size": path.stat().st_size, **about})
    with SandboxPool(children=1) as own:
        return make_card(path, database_id, sample_rows=sample_rows, pool=own)
