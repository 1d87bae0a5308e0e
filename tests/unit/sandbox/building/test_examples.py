"""Databases of invented examples, through real children: rows of ours where the writer's do not do."""

from collections.abc import Iterator

import pytest

from services.sandbox.building.examples import fill_script
from services.sandbox.building.filling import SHARINGS
from services.sandbox.execution.pool import SandboxPool
from shared.contracts.records import DatabaseScript
from shared.errors import InvalidInputError

DDL = [
    "CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT, age INT CHECK (age > 0))",
    "CREATE TABLE song (song_id INTEGER PRIMARY KEY, singer_id INTEGER REFERENCES singer(singer_id), "
    "title VARCHAR(80) NOT NULL UNIQUE, sales REAL, kind TEXT CHECK (kind IN ('pop', 'jazz')), released DATE)",
    "CREATE TABLE award (singer_id INTEGER REFERENCES singer, song_id INTEGER REFERENCES song(song_id), year INTEGER, "
    "PRIMARY KEY (singer_id, song_id))",
]
OWN = ["INSERT INTO singer VALUES (1, 'Ana', 'Peru', 30), (2, 'Bo', 'Chile', 40)"]
GOLDS = [
    "SELECT name FROM singer WHERE country = 'Norway' AND age > 50",
    "SELECT T1.name FROM singer T1 JOIN song T2 ON T1.singer_id = T2.singer_id WHERE kind = 'jazz' AND sales > 100000",
    "SELECT country FROM singer WHERE age > 40 INTERSECT SELECT country FROM singer WHERE age < 20",
    "SELECT name FROM singer WHERE singer_id NOT IN (SELECT singer_id FROM song)",
    "SELECT singer_id FROM song GROUP BY singer_id HAVING count(*) >= 3",
    "SELECT title FROM song WHERE released BETWEEN '2021-01-01' AND '2021-02-01' ORDER BY sales DESC LIMIT 3",
    "SELECT T1.name FROM singer T1 JOIN award T2 ON T1.singer_id = T2.singer_id WHERE T2.year = 2003",
    "SELECT title FROM song WHERE title LIKE '%Moon%'",
    "SELECT name FROM singer WHERE singer_id = 77",
]


@pytest.fixture(scope="module")
def children() -> Iterator[SandboxPool]:
    with SandboxPool(1) as pool:
        yield pool


def test_there_is_a_way_to_share_for_every_join() -> None:
    assert SHARINGS == ("first", "last", "none")


@pytest.mark.parametrize("gold", GOLDS)
@pytest.mark.parametrize("own", [[], OWN], ids=["no rows", "some rows"])
def test_a_gold_that_finds_nothing_gets_rows_that_it_finds(children: SandboxPool, gold: str, own: list[str]) -> None:
    script, added = fill_script(DatabaseScript(ddl=DDL, inserts=own), gold, children)
    assert added and script.ddl == DDL and script.inserts[: len(own)] == own
    again, _ = fill_script(DatabaseScript(ddl=DDL, inserts=own), gold, children)
    assert again == script


def test_rows_that_do_stay_alone(children: SandboxPool) -> None:
    script = DatabaseScript(ddl=DDL[:1], inserts=OWN)
    assert fill_script(script, "SELECT name FROM singer WHERE age > 35", children) == (script, False)


def test_rows_that_cannot_be_inserted_are_replaced(children: SandboxPool) -> None:
    broken = DatabaseScript(ddl=DDL, inserts=["INSERT INTO song VALUES (1, 99, 'x', 1, 'pop', '2020-01-01')"])
    script, added = fill_script(broken, "SELECT title FROM song WHERE kind = 'pop'", children)
    assert added and not set(broken.inserts) & set(script.inserts)


def test_a_gold_that_cannot_run_is_left_to_the_gates(children: SandboxPool) -> None:
    script = DatabaseScript(ddl=DDL, inserts=OWN)
    assert fill_script(script, "SELECT nothing FROM singer", children) == (script, False)


def test_a_schema_that_does_not_build_is_refused_with_the_writers_fault(children: SandboxPool) -> None:
    with pytest.raises(InvalidInputError, match="ddl statement 1"):
        fill_script(
            DatabaseScript(ddl=["CREATE TABLE a (b, b)"], inserts=["INSERT INTO a VALUES (1)"]),
            "SELECT b FROM a",
            children,
        )
