"""The seed examples that a prompt shows: the builtin ones, or those of a stored dataset that the spec names."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from shared.catalog.databases import CardCache, Scalar, SchemaCard
from shared.catalog.datasets import find_dataset, read_examples
from shared.contracts.records import Example, Level
from shared.errors import InvalidInputError
from shared.sql.completion import outline_sql
from shared.storage.store import ObjectStore

FOLDER = Path(__file__).parent / "seed_examples"  # one YAML file a database
BUILTIN = "builtin-seeds@1"
BUILTIN_LICENCE = "Apache-2.0 (Sense's own seed examples)"
MAX_ROWS = 4  # INSERTed rows a table: enough to show the form
LARGEST_SCHEMA = 6000  # characters; two larger ones would crowd out what the prompt asks for
CELL_CHARS = 60
V = TypeVar("V")


class RecentCache(Generic[V]):
    """The `most` values used last, by name. For one thread, as a worker's slot is."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.values: OrderedDict[str, V] = OrderedDict()

    def get(self, name: str, read: Callable[[], V]) -> V:
        if name not in self.values:
            self.values[name] = read()
            if len(self.values) > self.most:
                self.values.popitem(last=False)
        self.values.move_to_end(name)
        return self.values[name]


@dataclass(frozen=True, slots=True)
class Seed:
    """A worked example. `schema` is CREATE and INSERT statements as text; lineage records the `name`."""

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


SEED_SETS: RecentCache[SeedSet] = RecentCache(4)


def render_seed(seed: Seed, *, evidence: bool = False, reasoning: bool = False) -> str:
    """A seed in the form in which the model has to answer."""
    parts = [f"Domain: {seed.domain}", f"Schema:\n{seed.schema}", f"Question: {seed.question}"]
    if evidence:
        parts.append(f"Evidence: {seed.evidence or 'none'}")
    if reasoning and seed.reasoning:
        parts.append(f"Reasoning: {seed.reasoning}")
    return "\n".join([*parts, f"Answer: {seed.sql}"])


@cache
def builtin_seeds() -> SeedSet:
    seeds: list[Seed] = []
    for file in sorted(FOLDER.glob("*.yaml")):
        described: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        schema = join_statements([*described["ddl"], *described["inserts"]])
        seeds += [
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
    return SeedSet(source=BUILTIN, licence=BUILTIN_LICENCE, seeds=tuple(seeds))


def dataset_seeds(objects: ObjectStore, ref: str, split: str) -> SeedSet:
    """The usable examples of a dataset's split. Raises `InvalidInputError` if there are fewer than two.

    Examples whose gold failed or gave no row at the import are not usable, nor are databases whose schema with a few
    rows is longer than `LARGEST_SCHEMA`.
    """
    manifest = find_dataset(objects, ref)

    def read() -> SeedSet:
        health = manifest.health
        faulty = {one.index for one in (*health.failed, *health.timeouts, *health.capped)} if health else set()
        faulty |= set(health.empty) if health else set()
        examples = read_examples(objects, manifest)
        healthy = (one for one in examples if one.split == split and one.index not in faulty)
        seeds = tuple(usable_seeds(healthy, CardCache(objects)))
        return SeedSet(source=manifest.ref, licence=manifest.licence, seeds=seeds)

    found = SEED_SETS.get(f"{manifest.ref} {split} {manifest.licence}", read)  # a version never changes
    # Every prompt shows two seeds.
    if len(found.seeds) < 2:
        raise InvalidInputError(
            f"dataset {manifest.ref} has {len(found.seeds)} usable seed(s) in its split {split}: golds must run and "
            f"schemas stay below {LARGEST_SCHEMA} characters; name another dataset in strong.seeds, or none"
        )
    return found


def usable_seeds(examples: Iterable[Example], catalog: CardCache) -> Iterator[Seed]:
    # Many examples share a database; its schema is rendered once.
    schemas: dict[str, str] = {}
    for one in examples:
        if one.database_id not in schemas:
            schemas[one.database_id] = schema_script(catalog.card(one.database_id))
        schema = schemas[one.database_id]
        if len(schema) <= LARGEST_SCHEMA:
            yield Seed(
                name=one.example_id,
                domain=one.domain.replace("_", " "),
                level=one.level,
                schema=schema,
                question=one.question,
                sql=one.gold,
                evidence=one.evidence,
                reasoning=one.reasoning or outline_sql(one.gold),
            )


def schema_script(card: SchemaCard) -> str:
    statements = [table.ddl for table in card.tables]
    for table in card.tables:
        if table.sample_rows:
            tuples = ", ".join(f"({', '.join(map(sql_literal, row))})" for row in table.sample_rows[:MAX_ROWS])
            statements.append(f'INSERT INTO "{table.name}" VALUES {tuples}')
    return join_statements(statements)


def join_statements(parts: list[str]) -> str:
    # Every statement ends in one semicolon, whether it had one or not.
    return "\n".join(f"{part.strip().rstrip(';')};" for part in parts)


def sql_literal(cell: Scalar) -> str:
    """Long texts are cut."""
    if cell is None:
        return "NULL"
    if not isinstance(cell, str):
        return str(cell)
    text = cell if len(cell) <= CELL_CHARS else cell[: CELL_CHARS - 1] + "…"
    return "'" + text.replace("'", "''") + "'"
