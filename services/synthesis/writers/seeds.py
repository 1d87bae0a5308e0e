"""The two examples that each call of the strong model is shown: drawn at random from a set, by seed.

The set is our own (`seed_examples/`, one YAML file a database) or a stored data set that the spec names.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from shared.catalog.databases import CardCache, Scalar, SchemaCard, TableCard
from shared.catalog.datasets import find_dataset, read_examples
from shared.contracts.datasets import DatasetManifest
from shared.contracts.records import Example, Level
from shared.errors import InvalidInputError
from shared.sql.completion import outline_sql
from shared.storage.store import ObjectStore

FOLDER = Path(__file__).parent / "seed_examples"
BUILTIN = "builtin-seeds@1"
BUILTIN_LICENCE = "Apache-2.0 (Sense's own seed examples)"


@dataclass(frozen=True, slots=True)
class Seed:
    """A worked example. `schema` is CREATE and INSERT statements as text; `name` is how lineage names it."""

    name: str
    domain: str
    level: Level
    schema: str
    question: str
    sql: str
    evidence: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class SeedSet:
    """Seeds of one source (NAME@VERSION) with their licence."""

    source: str
    licence: str
    seeds: tuple[Seed, ...]

    def draw(self, rng: random.Random) -> list[Seed]:
        """Two different seeds."""
        return rng.sample(self.seeds, 2)


@cache
def builtin_seeds() -> SeedSet:
    """Our own examples, by file name and place in the file."""
    found = [seed for file in sorted(FOLDER.glob("*.yaml")) for seed in read_seed_file(file)]
    return SeedSet(source=BUILTIN, licence=BUILTIN_LICENCE, seeds=tuple(found))


def read_seed_file(file: Path) -> list[Seed]:
    """The seeds over one database."""
    described: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = join_statements([*described["ddl"], *described["inserts"]])
    return [
        Seed(
            name=f"{file.stem}#{number}",
            domain=described["domain"],
            level=entry["level"],
            schema=schema,
            question=entry["question"],
            sql=entry["sql"],
            evidence=entry.get("evidence"),
            reasoning=entry.get("reasoning"),
        )
        for number, entry in enumerate(described["questions"], 1)
    ]


def join_statements(parts: list[str]) -> str:
    """Statements as a script."""
    return "\n".join(f"{part.strip().rstrip(';')};" for part in parts)


def render_seed(seed: Seed, *, evidence: bool = False, reasoning: bool = False) -> str:
    """A seed in the form that is asked for."""
    parts = [f"Domain: {seed.domain}", f"Schema:\n{seed.schema}", f"Question: {seed.question}"]
    if evidence:
        parts.append(f"Evidence: {seed.evidence or 'none'}")
    if reasoning and seed.reasoning:
        parts.append(f"Reasoning: {seed.reasoning}")
    return "\n".join([*parts, f"Answer: {seed.sql}"])


V = TypeVar("V")


class RecentCache(Generic[V]):
    """At most `most` values; the least recently used goes first. For one thread, as a worker's slot is."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.values: OrderedDict[str, V] = OrderedDict()

    def get(self, name: str, read: Callable[[], V]) -> V:
        """The value of the name, read where it is not here."""
        if name not in self.values:
            self.values[name] = read()
            if len(self.values) > self.most:
                self.values.popitem(last=False)
        self.values.move_to_end(name)
        return self.values[name]


MAX_ROWS = 4  # INSERTed rows a table: enough to show the form
LARGEST_SCHEMA = 6000  # characters; two larger ones would crowd out what is asked for
CELL_CHARS = 60
SEED_SETS: RecentCache[SeedSet] = RecentCache(4)


def dataset_seeds(objects: ObjectStore, ref: str, split: str) -> SeedSet:
    """The usable examples of a split. Raises `InvalidInputError` where there are fewer than two.

    Left out: golds that failed at the import, and databases whose schema with a few rows is longer than
    `LARGEST_SCHEMA`.
    """
    manifest = find_dataset(objects, ref)
    name = f"{manifest.ref} {split} {manifest.licence}"  # a version never changes
    found = SEED_SETS.get(name, lambda: read_seed_set(objects, manifest, split))
    if len(found.seeds) < 2:
        raise InvalidInputError(
            f"data set {manifest.ref} has {len(found.seeds)} usable seed(s) in its split {split}: golds must run and "
            f"schemas stay below {LARGEST_SCHEMA} characters; name another data set in strong.seeds, or none"
        )
    return found


def read_seed_set(objects: ObjectStore, manifest: DatasetManifest, split: str) -> SeedSet:
    """Reads the whole split."""
    seeds = tuple(usable_seeds(healthy_examples(manifest, read_examples(objects, manifest), split), CardCache(objects)))
    return SeedSet(source=manifest.ref, licence=manifest.licence, seeds=seeds)


def healthy_examples(manifest: DatasetManifest, rows: Iterable[Example], split: str) -> Iterator[Example]:
    """Rows of the split whose gold ran and gave rows."""
    health = manifest.health
    faulty = {one.index for one in (*health.failed, *health.timeouts, *health.capped)} if health else set()
    faulty |= set(health.empty) if health else set()
    return (row for row in rows if row.split == split and row.index not in faulty)


def usable_seeds(rows: Iterable[Example], catalog: CardCache) -> Iterator[Seed]:
    """Seeds of those rows whose schema is short enough."""
    schemas: dict[str, str] = {}
    for row in rows:
        if row.database_id not in schemas:
            schemas[row.database_id] = schema_script(catalog.card(row.database_id))
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


def schema_script(card: SchemaCard) -> str:
    """The tables and a few of their rows, as statements."""
    return join_statements(
        [*(table.ddl for table in card.tables), *(insert for one in card.tables for insert in insert_statements(one))]
    )


def insert_statements(table: TableCard) -> Iterator[str]:
    """One INSERT with the first rows, where there are any."""
    if table.sample_rows:
        tuples = ", ".join(f"({', '.join(sql_literal(cell) for cell in row)})" for row in table.sample_rows[:MAX_ROWS])
        yield f'INSERT INTO "{table.name}" VALUES {tuples}'


def sql_literal(cell: Scalar) -> str:
    """A cell as SQL, long texts cut."""
    if cell is None:
        return "NULL"
    if not isinstance(cell, str):
        return str(cell)
    text = cell if len(cell) <= CELL_CHARS else cell[: CELL_CHARS - 1] + "…"
    return "'" + text.replace("'", "''") + "'"
