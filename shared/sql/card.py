"""Schema cards: what a prompt and a person need to know of a database, without opening it."""

from pydantic import BaseModel, ConfigDict, Field

Scalar = str | int | float | None


class ColumnCard(BaseModel):
    """A column as declared; `type` is the declared type, upper case, possibly empty."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: str
    primary_key: bool = False
    not_null: bool = False


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


class SchemaCard(BaseModel):
    """All tables of one database; `database_id` is the SHA-256 (hex) of the SQLite file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_id: str
    tables: list[TableCard]
