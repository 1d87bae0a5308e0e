"""A small school database with every kind of key, and helpers to compare queries on its test-suite databases."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from services.sandbox.test_suites.constants import extract_constants
from services.sandbox.test_suites.generate import generate_suite
from services.sandbox.test_suites.validity import static_fault, tie_probes

SCHOOL = """
CREATE TABLE teacher(id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT, town TEXT, boss INT REFERENCES teacher(id));
CREATE TABLE course(code TEXT PRIMARY KEY, title TEXT, credits INTEGER CHECK (credits > 0), fee REAL, begins DATE,
                    teacher_id INTEGER REFERENCES teacher(id));
CREATE TABLE student(id INTEGER PRIMARY KEY, name TEXT, sex CHAR(1), town TEXT, country TEXT, height INT, weight INT);
CREATE TABLE enrols(student_id INT REFERENCES student, code TEXT REFERENCES course(code), grade INTEGER,
                    PRIMARY KEY (student_id, code));
INSERT INTO teacher VALUES (1,'Ada',51,'Oslo',NULL),(2,'Bob',38,'Rome',1),(3,'Cyd',45,'Oslo',1),(4,'Dee',62,NULL,2);
INSERT INTO course VALUES ('AB1','Data',3,10.5,'2020-01-31',1),('AB2','Graphs',5,20.0,'2020-02-29',1),
  ('CD1','Dances',4,0.0,'2021-03-01',2),('CD2','Optics',2,15.25,'2019-12-31',3);
"""
NAMES = ("Eva", "Fay", "Gil", "Hal", "Ida", "Jon", "Kim", "Lea", "Mia", "Ned", "Oda", "Pia")
PLACES = (("Oslo", "Norway"), ("Rome", "Italy"), ("Bergen", "Norway"), ("Milan", "Italy"))
Rows = list[tuple[object, ...]]


def make_school(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(SCHOOL)
    for n, name in enumerate(NAMES, 1):
        town, country = PLACES[n % 4]
        connection.execute(
            "INSERT INTO student VALUES (?, ?, ?, ?, ?, ?, ?)",
            (n, name, "MF"[n % 2], town, country, 160 + 3 * n, 50 + 2 * n),
        )
        for code in ("AB1", "AB2", "CD1")[: n % 4]:
            connection.execute("INSERT INTO enrols VALUES (?, ?, ?)", (n, code, 1 + (n * 7) % 5))
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def school(tmp_path: Path) -> Path:
    return make_school(tmp_path / "school.sqlite")


def read(path: Path, sql: str) -> Rows:
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def bag(path: Path, sql: str) -> Rows:
    rounded = [tuple(round(c, 6) if isinstance(c, float) else c for c in row) for row in read(path, sql)]
    return sorted(rounded, key=repr)


def keys_of(path: Path) -> dict[str, frozenset[str]]:
    tables = [str(name) for (name,) in read(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    sql = "SELECT lower(name) FROM pragma_table_info('{}') WHERE pk"
    return {name.lower(): frozenset(str(c) for (c,) in read(path, sql.format(name))) for name in tables}


def counts(path: Path, gold: str) -> bool:
    """Whether a neighbour counts for a gold: rows, and no tie at its LIMIT."""
    rows = read(path, gold)
    probes = tie_probes(gold, len(rows[0])) if rows else None
    return bool(rows) and (probes is None or bag(path, probes[0]) == bag(path, probes[1]))


@pytest.fixture
def told_apart(tmp_path: Path) -> Callable[[Path, str, str], tuple[int, int]]:
    def told(database: Path, gold: str, other: str) -> tuple[int, int]:
        """How many of eight neighbours count for the gold, and how many of those tell the other query apart."""
        assert static_fault(gold, keys_of(database)) is None
        made = generate_suite(database, tmp_path / "n", count=8, seed=7, constants=extract_constants([gold, other]))
        counting = [path for path in made if counts(path, gold)]
        return len(counting), sum(bag(path, gold) != bag(path, other) for path in counting)

    return told
