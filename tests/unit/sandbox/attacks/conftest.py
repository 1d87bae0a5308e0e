"""The database that the corpus attacks, a pool of one child with short budgets, and a watch over it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sandbox.execution.pool import SandboxPool
from tests.unit.sandbox.attacks.trial import LIMITS, Trial
from tests.unit.sandbox.attacks.watch import Watch
from tests.unit.sandbox.conftest import SCHEMA

MORE = """
CREATE VIEW paris AS SELECT id, name FROM customer WHERE city = 'Paris';
CREATE TABLE many(x INTEGER);
INSERT INTO many WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) SELECT i FROM n;
CREATE TABLE ticket(id INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO ticket DEFAULT VALUES;
CREATE VIRTUAL TABLE docs USING fts5(body);
INSERT INTO docs VALUES ('hello world'), ('good bye'), ('a b a b a b');
CREATE VIRTUAL TABLE places USING rtree(id, low, high);
INSERT INTO places VALUES (1, 0, 10), (2, 5, 15);
ANALYZE;
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database alone in its folder."""
    path = tmp_path_factory.mktemp("target") / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA + MORE)
    connection.close()
    return path


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(children=1, limits=LIMITS) as pool:
        yield pool


@pytest.fixture(scope="module")
def trial(pool: SandboxPool, target: Path) -> Iterator[Trial]:
    watch = Watch(pool.pids)
    watch.start()
    yield Trial(pool, target, watch)
    watch.stop()
