"""Queries that agree by chance are told apart; queries that mean the same never are."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.sandbox.test_suites.conftest import bag

Told = Callable[[Path, str, str], tuple[int, int]]

NEAR_MISSES = [
    ("SELECT count(town) FROM student", "SELECT count(DISTINCT town) FROM student"),
    ("SELECT name FROM student WHERE height > 172", "SELECT name FROM student WHERE height >= 172"),
    ("SELECT name FROM teacher WHERE age < 45", "SELECT name FROM teacher WHERE age <= 45"),
    (
        "SELECT t.name, c.title FROM teacher t LEFT JOIN course c ON c.teacher_id = t.id",
        "SELECT t.name, c.title FROM teacher t JOIN course c ON c.teacher_id = t.id",
    ),
    ("SELECT max(height) FROM student", "SELECT min(height) FROM student"),
    ("SELECT name FROM student WHERE sex = 'F'", "SELECT name FROM student"),
    ("SELECT avg(height) FROM student", "SELECT avg(weight) FROM student"),
    (
        "SELECT name FROM student ORDER BY height DESC LIMIT 1",
        "SELECT name FROM student ORDER BY weight DESC LIMIT 1",
    ),
    ("SELECT name FROM student ORDER BY id LIMIT 3", "SELECT name FROM student ORDER BY name LIMIT 3"),
    ("SELECT title FROM course WHERE title LIKE '%D%'", "SELECT title FROM course WHERE title LIKE 'D%'"),
    ("SELECT title FROM course WHERE title LIKE 'D%'", "SELECT title FROM course WHERE title LIKE 'Da%'"),
    ("SELECT sum(fee) FROM course", "SELECT total(DISTINCT fee) FROM course"),
    (
        "SELECT name FROM student WHERE country = 'Norway' AND height > 170",
        "SELECT name FROM student WHERE country = 'Norway' OR height > 170",
    ),
    (
        "SELECT s.id FROM student s JOIN enrols e ON e.student_id = s.id WHERE e.grade = 5",
        "SELECT s.id FROM student s JOIN enrols e ON e.student_id = s.id WHERE e.grade >= 4",
    ),
    ("SELECT title FROM course WHERE begins < '2020-02-29'", "SELECT title FROM course WHERE begins <= '2020-02-29'"),
    (
        "SELECT count(*) FROM course GROUP BY teacher_id HAVING count(*) >= 2",
        "SELECT count(*) FROM course GROUP BY teacher_id HAVING count(*) > 2",
    ),
    ("SELECT count(*) FROM teacher", "SELECT count(boss) FROM teacher"),
    (
        "SELECT town FROM student UNION SELECT town FROM teacher",
        "SELECT town FROM student UNION ALL SELECT town FROM teacher",
    ),
]
EQUIVALENT = [
    (
        "SELECT name FROM student WHERE id IN (SELECT student_id FROM enrols)",
        "SELECT name FROM student s WHERE EXISTS (SELECT 1 FROM enrols e WHERE e.student_id = s.id)",
    ),
    (
        "SELECT DISTINCT s.id, s.name FROM student s JOIN enrols e ON e.student_id = s.id",
        "SELECT id, name FROM student WHERE id IN (SELECT student_id FROM enrols)",
    ),
    (
        "SELECT id FROM student WHERE id NOT IN (SELECT student_id FROM enrols)",
        "SELECT id FROM student EXCEPT SELECT student_id FROM enrols",
    ),
    (
        "SELECT id FROM student EXCEPT SELECT student_id FROM enrols",
        "SELECT s.id FROM student s LEFT JOIN enrols e ON e.student_id = s.id WHERE e.code IS NULL",
    ),
    (
        "SELECT name FROM student ORDER BY height DESC LIMIT 1",
        "SELECT name FROM student WHERE height = (SELECT max(height) FROM student)",
    ),
    ("SELECT min(fee) FROM course", "SELECT fee FROM course ORDER BY fee LIMIT 1"),
    ("SELECT count(*) FROM student", "SELECT count(id) FROM student"),
    ("SELECT count(*) FROM student", "SELECT count(name) FROM student"),  # the original has no NULL there
    (
        "SELECT name FROM student WHERE height BETWEEN 166 AND 178",
        "SELECT name FROM student WHERE height >= 166 AND height <= 178",
    ),
    (
        "SELECT t.name, count(*) FROM teacher t JOIN course c ON c.teacher_id = t.id GROUP BY t.id",
        "SELECT t.name, count(*) FROM course c JOIN teacher t ON t.id = c.teacher_id GROUP BY c.teacher_id",
    ),
    ("SELECT DISTINCT town FROM student", "SELECT town FROM student GROUP BY town"),
    (
        "SELECT e.grade FROM enrols e JOIN student s ON s.id = e.student_id",  # foreign keys hold and are never NULL
        "SELECT grade FROM enrols",
    ),
    (
        "SELECT DISTINCT town, country FROM student",  # town determines country
        "SELECT town, max(country) FROM student GROUP BY town",
    ),
    (
        "SELECT title FROM course WHERE begins >= '2020-01-01'",
        "SELECT title FROM course WHERE substr(begins, 1, 4) >= '2020'",
    ),
    ("SELECT count(*) FROM student WHERE sex = 'F'", "SELECT count(*) FROM student WHERE sex <> 'M'"),
    ("SELECT code FROM course WHERE credits > 0", "SELECT code FROM course"),  # a CHECK
    (
        "SELECT code FROM course WHERE fee > 10 UNION SELECT code FROM course WHERE credits = 3",
        "SELECT code FROM course WHERE fee > 10 OR credits = 3",
    ),
    (
        "SELECT count(*), teacher_id FROM course GROUP BY teacher_id ORDER BY count(*) DESC LIMIT 1",
        "SELECT count(*), teacher_id FROM course GROUP BY teacher_id HAVING count(*) = "
        "(SELECT max(n) FROM (SELECT count(*) AS n FROM course GROUP BY teacher_id))",
    ),
]


@pytest.mark.parametrize(("gold", "wrong"), NEAR_MISSES)
def test_near_misses_are_told_apart(school: Path, told_apart: Told, gold: str, wrong: str) -> None:
    counting, apart = told_apart(school, gold, wrong)
    assert apart > 0, f"{counting} neighbours count"


@pytest.mark.parametrize(("gold", "same"), EQUIVALENT)
def test_rewrites_agree_wherever_a_suite_database_counts(school: Path, told_apart: Told, gold: str, same: str) -> None:
    assert bag(school, gold) == bag(school, same)
    counting, apart = told_apart(school, gold, same)
    assert counting > 0
    assert apart == 0


def test_a_gold_that_is_empty_on_the_original_finds_rows(school: Path, told_apart: Told) -> None:
    gold = "SELECT name FROM student WHERE height > 500"
    assert bag(school, gold) == []
    assert told_apart(school, gold, "SELECT name FROM student WHERE height > 400")[0] == 0  # no height is near 500
    gold = "SELECT name FROM student WHERE name = 'Zoe'"
    counting, apart = told_apart(school, gold, "SELECT name FROM student WHERE name = 'Zed'")
    assert counting > 0 and apart == counting


def test_a_suite_database_that_ties_at_the_limit_does_not_count(tmp_path: Path, told_apart: Told) -> None:
    database = tmp_path / "ties.sqlite"
    connection = sqlite3.connect(database)
    connection.executescript(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1,5),(2,5),(3,5),(4,6),(5,6),(6,6)"
    )
    connection.close()
    gold, other = "SELECT id FROM t ORDER BY a LIMIT 1", "SELECT id FROM t ORDER BY a, id DESC LIMIT 1"
    assert told_apart(database, gold, other)[1] == 0
