"""Databases of the user's, as the writers see them: name, schema card, sample values, what hangs together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from shared.catalog.databases import CardCache, SchemaCard, read_uploads, upload_keys
from shared.contracts.records import PromptStyle
from shared.sql.prompt import render_cell, render_schema
from shared.storage.store import ObjectStore

STYLE = PromptStyle(comments=True, foreign_keys=True)
ROW_STEPS = (5, 3, 1, 0)
LARGEST_SCHEMA = 24_000  # characters: what lies above is shown with fewer rows
VALUE_COLUMNS = 60


@dataclass(frozen=True)
class Own:
    """A database to write for; `name` is the domain of its examples."""

    name: str
    card: SchemaCard

    @property
    def tables(self) -> list[str]:
        """Tables with rows: nothing can be asked of the others."""
        return [table.name for table in self.card.tables if table.row_count > 0]

    def schema(self) -> str:
        """The one rendering, with as many rows as fit."""
        shown = ""
        for rows in ROW_STEPS:
            shown = render_schema(self.card, rows, STYLE)
            if len(shown) <= LARGEST_SCHEMA:
                break
        return shown

    def values(self) -> str:
        """Sample values of columns, a line each."""
        lines = [
            f"{table.name}.{column.name}: {', '.join(render_cell(value) for value in column.samples)}"
            for table in self.card.tables
            for column in table.columns
            if column.samples
        ]
        return "\n".join(lines[:VALUE_COLUMNS]) or "none"


def own_databases(objects: ObjectStore, ids: Sequence[str]) -> list[Own]:
    """In the order of the spec. Raises `NotFoundError` for one that is not here."""
    if not ids:
        return []
    catalog, known = CardCache(objects), upload_keys(objects)
    keys = {one: known[one] for one in ids if one in known}
    names = {upload.id: upload.name for upload in read_uploads(objects, list(keys.values()))}
    return [Own(domain_of(names.get(one), one), catalog.card(one)) for one in ids]


def domain_of(name: str | None, database_id: str) -> str:
    """What people call it, without the file's ending; else the beginning of its id."""
    words = PurePath(name).stem.replace("_", " ").strip() if name else ""
    return words or f"database {database_id[:8]}"
