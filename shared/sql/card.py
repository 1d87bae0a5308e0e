"""Schema cards: what a prompt and a person need to know of a database, without opening it."""

from pydantic import BaseModel, ConfigDict, Field

Scalar = str | int | float | None


class ColumnCard(BaseModel):
    """A column as declared; `type` is the declared type, upper case, possibly empty.

    `comment`: the SQL comment that stands beside it in the CREATE statement. `samples`: up to three distinct values,
    clipped, of the table's first rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: str
    primary_key: bool = False
    not_null: bool = False
    comment: str | None = None
    samples: list[Scalar] = Field(default_factory=list)


class ForeignKeyCard(BaseModel):
    """One column that points at another table's column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    to_table: str
    to_column: str


class TableCard(BaseModel):
    """A table: its CREATE statement, columns, keys, row count and its first rows (at most five, in rowid order)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    ddl: str
    columns: list[ColumnCard]
    foreign_keys: list[ForeignKeyCard] = Field(default_factory=list)
    row_count: int
    sample_rows: list[list[Scalar]] = Field(default_factory=list)
    comment: str | None = None


class ViewCard(BaseModel):
    """A view that can be read: its CREATE statement, columns, and first rows where they cost little."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    ddl: str
    columns: list[ColumnCard]
    sample_rows: list[list[Scalar]] = Field(default_factory=list)
    comment: str | None = None


def is_empty(value: list[object]) -> bool:
    """Whether a list says nothing."""
    return not value


class SchemaCard(BaseModel):
    """All tables and readable views of one database; `database_id` is the SHA-256 (hex) of the SQLite file, `size` its
    bytes. `warnings` name what is left out and why. Cards of databases without views are as they were before views.

    Cards that were written before a field was added have its default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_id: str
    tables: list[TableCard]
    size: int | None = None
    views: list[ViewCard] = Field(default_factory=list, exclude_if=is_empty)
    warnings: list[str] = Field(default_factory=list, exclude_if=is_empty)

    @property
    def relations(self) -> list[TableCard | ViewCard]:
        """Whatever a query may read: tables, then views."""
        return [*self.tables, *self.views]
