"""The built-in seeds: each is built, run and measured."""

import sqlite3
from collections import Counter

import pytest

from services.synthesis.writers.grammar.domain import load_domains
from services.synthesis.writers.handwritten import load_handwritten
from services.synthesis.writers.seeds import BUILTIN_LICENCE, Seed, builtin_seeds
from shared.sql.spider.hardness import measured_hardness
from shared.sql.spider.schema import SpiderSchema

SEEDS = [pytest.param(seed, id=seed.name) for seed in builtin_seeds().seeds]
LEVELS = {"easy": ("easy",), "medium": ("medium",), "hard": ("hard", "extra", "beyond_spider")}
NAMED_BY_THE_PAPER = ("university", "school", "hospital", "clinic", "airline", "flight", "movie", "film", "music")


def opened(seed: Seed) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA foreign_keys = ON")
    database.executescript(seed.schema)
    return database


def tables(database: sqlite3.Connection) -> dict[str, list[str]]:
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in names}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_builds_runs_and_is_as_hard_as_it_says(seed: Seed) -> None:
    database = opened(seed)
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    rows = database.execute(seed.sql).fetchall()
    assert rows and any(cell not in (None, 0) for row in rows for cell in row)
    assert measured_hardness(seed.sql, SpiderSchema.from_listing(tables(database))) in LEVELS[seed.level]
    assert seed.question[-1] in "?." and seed.reasoning
    assert "SELECT" not in seed.question + (seed.evidence or "") + (seed.reasoning or "")


def test_there_are_sixty_over_twenty_domains_and_three_levels() -> None:
    found = builtin_seeds()
    assert len(found.seeds) >= 60 and len({seed.domain for seed in found.seeds}) >= 20
    assert min(Counter(seed.level for seed in found.seeds).values()) >= 20
    by_domain: dict[str, set[str]] = {}
    for seed in found.seeds:
        by_domain.setdefault(seed.domain, set()).add(seed.level)
    assert all(levels == {"easy", "medium", "hard"} for levels in by_domain.values())
    assert sum(seed.evidence is not None for seed in found.seeds) >= 20
    assert len({seed.name for seed in found.seeds}) == len({seed.question for seed in found.seeds}) == len(found.seeds)
    assert found.licence == BUILTIN_LICENCE and "Apache-2.0" in found.licence


def test_no_test_set_and_no_field_that_the_prompt_leaves_out_is_among_them() -> None:
    domains = {seed.domain for seed in builtin_seeds().seeds}
    tests = {one.name.replace("_", " ") for one in load_domains("test")}
    tests |= {one.domain.replace("_", " ") for one in load_handwritten()}
    assert not domains & tests
    assert not [domain for domain in domains if any(word in domain for word in NAMED_BY_THE_PAPER)]
