"""The two examples that each call of the strong model is shown: drawn at random from a set, by seed.

The set is our own (`seed_examples/`, one YAML file a database) or a stored data set that the spec names.
"""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.contracts.records import Level

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
    found = [seed for file in sorted(FOLDER.glob("*.yaml")) for seed in read_file(file)]
    return SeedSet(source=BUILTIN, licence=BUILTIN_LICENCE, seeds=tuple(found))


def read_file(file: Path) -> list[Seed]:
    """The seeds over one database."""
    described: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = statements([*described["ddl"], *described["inserts"]])
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


def statements(parts: list[str]) -> str:
    """Statements as a script."""
    return "\n".join(f"{part.strip().rstrip(';')};" for part in parts)


def show_seed(seed: Seed, *, evidence: bool = False, reasoning: bool = False) -> str:
    """A seed in the form that is asked for."""
    parts = [f"Domain: {seed.domain}", f"Schema:\n{seed.schema}", f"Question: {seed.question}"]
    if evidence:
        parts.append(f"Evidence: {seed.evidence or 'none'}")
    if reasoning and seed.reasoning:
        parts.append(f"Reasoning: {seed.reasoning}")
    return "\n".join([*parts, f"Answer: {seed.sql}"])
