"""What the stack knows of its databases: schema cards, and the records of uploads.

A schema card holds what a prompt and a reader need to know of a database, without opening it.
"""

from collections import OrderedDict
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Owner
from shared.errors import NotFoundError
from shared.storage.keys import UPLOADS_PREFIX, card_key, ddl_card_key, upload_key
from shared.storage.store import ObjectStore

Scalar = str | int | float | None


class ColumnCard(BaseModel):
    """A column as declared; `type` is upper case and may be empty.

    `comment` is the SQL comment beside it in the CREATE statement, `samples` up to three distinct clipped values of the
    table's first rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: str
    primary_key: bool = False
    not_null: bool = False
    comment: str | None = None
    samples: list[Scalar] = Field(default_factory=list)


class ForeignKeyCard(BaseModel):
    """One column that references another table's column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    to_table: str
    to_column: str


class TableCard(BaseModel):
    """A table with up to five sample rows, in rowid order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    ddl: str
    columns: list[ColumnCard]
    foreign_keys: list[ForeignKeyCard] = Field(default_factory=list)
    row_count: int
    sample_rows: list[list[Scalar]] = Field(default_factory=list)
    comment: str | None = None


class ViewCard(BaseModel):
    """A readable view; sample rows only if they are cheap."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    ddl: str
    columns: list[ColumnCard]
    sample_rows: list[list[Scalar]] = Field(default_factory=list)
    comment: str | None = None


def is_empty(value: list[object]) -> bool:
    return not value


class SchemaCard(BaseModel):
    """All tables and readable views of one database; `database_id` is the SHA-256 (hex) of the SQLite file, `size` its
    bytes. `warnings` say what is left out and why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_id: str
    tables: list[TableCard]
    size: int | None = None
    views: list[ViewCard] = Field(default_factory=list, exclude_if=is_empty)
    warnings: list[str] = Field(default_factory=list, exclude_if=is_empty)

    @property
    def relations(self) -> list[TableCard | ViewCard]:
        return [*self.tables, *self.views]


REMEMBERED = 2048  # cards per process


def find_card(objects: ObjectStore, database_id: str) -> SchemaCard:
    try:
        return SchemaCard.model_validate_json(objects.get(card_key(database_id)))
    except NotFoundError:
        return SchemaCard.model_validate_json(objects.get(ddl_card_key(database_id)))


class CardCache:
    """Schema cards by database id, from the object store; the last ones used are kept. Raises `NotFoundError`."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.cards: OrderedDict[str, SchemaCard] = OrderedDict()

    def card(self, database_id: str) -> SchemaCard:
        card = self.cards.get(database_id)
        if card is None:
            card = find_card(self.objects, database_id)
            self.cards[database_id] = card
            if len(self.cards) > REMEMBERED:
                self.cards.popitem(last=False)
        self.cards.move_to_end(database_id)
        return card


class Upload(BaseModel):
    """An uploaded database, recorded once, after everything else is stored.

    `size` in bytes, `created_at` in seconds since 1970. Views in the file can be queried, triggers never fire.
    `warnings` are sentences about what is odd but readable.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    name: str
    size: int
    created_at: float
    tables: int
    views: int = 0
    triggers: int = 0
    warnings: list[str] = []
    owner: Owner | None = None


def upload_keys(objects: ObjectStore) -> dict[str, str]:
    """Keys of the records by database id, oldest first; if two raced, the older one counts."""
    ids: dict[str, str] = {}
    for key in objects.list(UPLOADS_PREFIX):
        ids.setdefault(key.removesuffix(".json").rpartition("-")[2], key)
    return ids


def uploads_of_database(objects: ObjectStore, database_id: str) -> dict[str, Upload]:
    """Keys and records, oldest first; each owner has one."""
    keys = [key for key in objects.list(UPLOADS_PREFIX) if key.endswith(f"-{database_id}.json")]
    return dict(zip(keys, read_uploads(objects, keys), strict=True))


def find_upload(objects: ObjectStore, database_id: str) -> Upload | None:
    key = upload_keys(objects).get(database_id)
    return Upload.model_validate_json(objects.get(key)) if key else None


def read_uploads(objects: ObjectStore, keys: list[str]) -> Iterator[Upload]:
    for key in keys:
        yield Upload.model_validate_json(objects.get(key))


def add_upload(objects: ObjectStore, upload: Upload) -> Upload:
    """Records the upload unless its owner already has one; returns the oldest record, which is the one that counts."""
    known = list(uploads_of_database(objects, upload.id).values())
    if any(one.owner == upload.owner for one in known):
        return known[0]
    objects.put(upload_key(int(upload.created_at * 1000), upload.id), upload.model_dump_json().encode())
    return known[0] if known else upload
