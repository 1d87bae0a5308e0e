"""Seeds out of a stored data set: its questions and golds, with schema and rows from the databases' cards."""

from collections.abc import Iterable, Iterator

from services.synthesis.memory import Memory
from services.synthesis.seeds import Seed, SeedSet, statements
from shared.catalog.databases import CardCache, Scalar, SchemaCard, TableCard
from shared.catalog.datasets import find_dataset, read_examples
from shared.contracts.datasets import DatasetManifest
from shared.contracts.records import Example
from shared.errors import InvalidInputError
from shared.sql.completion import outline_sql
from shared.storage.store import ObjectStore

ROWS = 4  # INSERTed rows a table: enough to show the form
LARGEST_SCHEMA = 6000  # characters; two larger ones would crowd out what is asked for
CELL_CHARS = 60
REMEMBERED: Memory[SeedSet] = Memory(4)


def dataset_seeds(objects: ObjectStore, ref: str, split: str) -> SeedSet:
    """The usable examples of a split. Raises `InvalidInputError` where there are fewer than two.

    Left out: golds that failed at the import, and databases whose schema with a few rows is longer than
    `LARGEST_SCHEMA`.
    """
    manifest = find_dataset(objects, ref)
    name = f"{manifest.ref} {split} {manifest.licence}"  # a version never changes
    found = REMEMBERED.get(name, lambda: _read(objects, manifest, split))
    if len(found.seeds) < 2:
        raise InvalidInputError(
            f"data set {manifest.ref} has {len(found.seeds)} usable seed(s) in its split {split}: golds must run and "
            f"schemas stay below {LARGEST_SCHEMA} characters; name another data set in strong.seeds, or none"
        )
    return found


def _read(objects: ObjectStore, manifest: DatasetManifest, split: str) -> SeedSet:
    """Reads the whole split."""
    seeds = tuple(usable(sound(manifest, read_examples(objects, manifest), split), CardCache(objects)))
    return SeedSet(source=manifest.ref, licence=manifest.licence, seeds=seeds)


def sound(manifest: DatasetManifest, rows: Iterable[Example], split: str) -> Iterator[Example]:
    """Rows of the split whose gold ran and gave rows."""
    health = manifest.health
    faulty = {one.index for one in (*health.failed, *health.timeouts, *health.capped)} if health else set()
    faulty |= set(health.empty) if health else set()
    return (row for row in rows if row.split == split and row.index not in faulty)


def usable(rows: Iterable[Example], catalog: CardCache) -> Iterator[Seed]:
    """Seeds of those rows whose schema is short enough."""
    schemas: dict[str, str] = {}
    for row in rows:
        if row.database_id not in schemas:
            schemas[row.database_id] = script_of(catalog.card(row.database_id))
        schema = schemas[row.database_id]
        if len(schema) <= LARGEST_SCHEMA:
            yield Seed(
                name=row.example_id,
                domain=row.domain.replace("_", " "),
                level=row.level,
                schema=schema,
                question=row.question,
                sql=row.gold,
                evidence=row.evidence,
                reasoning=row.reasoning or outline_sql(row.gold),
            )


def script_of(card: SchemaCard) -> str:
    """The tables and a few of their rows, as statements."""
    return statements([*(table.ddl for table in card.tables), *(insert for one in card.tables for insert in rows(one))])


def rows(table: TableCard) -> Iterator[str]:
    """One INSERT with the first rows, where there are any."""
    if table.sample_rows:
        tuples = ", ".join(f"({', '.join(literal(cell) for cell in row)})" for row in table.sample_rows[:ROWS])
        yield f'INSERT INTO "{table.name}" VALUES {tuples}'


def literal(cell: Scalar) -> str:
    """A cell as SQL, long texts cut."""
    if cell is None:
        return "NULL"
    if not isinstance(cell, str):
        return str(cell)
    text = cell if len(cell) <= CELL_CHARS else cell[: CELL_CHARS - 1] + "…"
    return "'" + text.replace("'", "''") + "'"
