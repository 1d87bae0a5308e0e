"""The two examples that each call of the strong model is shown, drawn at random from the seed set."""

import random
from functools import cache

from services.synthesis.grammar.writer import write_examples
from shared.contracts.records import Written

SEED_SET_SIZE = 60
SEED_OF_SEEDS = 1


@cache
def seed_set() -> tuple[Written, ...]:
    """Examples of the offline writer's training domains."""
    levels = {"easy": 1.0, "medium": 1.0, "hard": 1.0}
    written = write_examples(seed=SEED_OF_SEEDS, split="train", shard=0, count=SEED_SET_SIZE, levels=levels)  # type: ignore[arg-type]
    return tuple(written)


def seed_name(written: Written) -> str:
    """How lineage names a seed."""
    return f"{written.provenance.writer_version}:{written.domain}:{written.provenance.source}"


def draw_seeds(rng: random.Random) -> list[Written]:
    """Two different seeds."""
    return rng.sample(list(seed_set()), 2)


def show_seed(written: Written) -> str:
    """A seed in the four-part form."""
    database = written.database
    statements = [*database.ddl, *database.inserts] if database else []
    schema = "\n".join(f"{statement.rstrip(';')};" for statement in statements)
    return f"Domain: {written.domain}\nSchema:\n{schema}\nQuestion: {written.question}\nAnswer: {written.sql}"
