"""A small shop database and a pool of real children."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool

SCHEMA = """
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), total REAL, note BLOB);
INSERT INTO customer VALUES (1,'Ada','Paris'),(2,'Bob','Oslo'),(3,'Cyd','Paris'),(4,'Dee',NULL);
INSERT INTO orders VALUES (1,1,10.0,x'00ff'),(2,1,20.5,NULL),(3,2,5.25,x'01'),(4,3,0.1,NULL);
"""


def make_shop(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.close()
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return make_shop(folder / "shop?#% .sqlite")


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    """Short budgets, so that what must run into its deadline does so soon."""
    with SandboxPool(
        children=2, limits=Limits(deadline_s=0.5, gold_deadline_s=0.8, grace_s=0.3, max_rows=1000)
    ) as pool:
        yield pool
