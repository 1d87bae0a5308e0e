"""Which golds test-suite databases can count for, and the probes that find ties."""

import sqlite3
from pathlib import Path

import pytest

from services.sandbox.test_suites.validity import order_probes, static_fault, tie_probes
from tests.unit.sandbox.test_suites.conftest import bag, read

KEYS = {"a": frozenset({"id"}), "b": frozenset({"id"}), "pair": frozenset({"x", "y"})}

SOUND = [
    "SELECT x FROM a",
    "SELECT x FROM a ORDER BY y LIMIT 3, 4 -- LIMIT",
    "SELECT x FROM a LIMIT 3 OFFSET 1;",
    "SELECT kind, count(*) AS c FROM a GROUP BY kind ORDER BY c DESC LIMIT 1",
    "SELECT T1.name, count(*) FROM a AS T1 JOIN b AS T2 ON T1.id = T2.a_id GROUP BY T2.a_id",
    "SELECT T1.name FROM a AS T1, b AS T2 WHERE T1.id = T2.a_id GROUP BY T1.id HAVING count(*) > 1 ORDER BY T1.age",
    "SELECT name, count(*) FROM a GROUP BY id",
    "SELECT a.*, count(*) FROM a JOIN b ON a.id = b.a_id GROUP BY a.id",
    "SELECT z, count(*) FROM pair GROUP BY y, x",
    "SELECT substr(x, 1, 2), count(*) FROM a GROUP BY substr(x, 1, 2)",
    "SELECT x, count(*) FROM a GROUP BY 1",
    "SELECT max(p, q), r FROM a",
    "SELECT name, count(*) FROM a WHERE name = 'x'",
    "SELECT x FROM a WHERE y = (SELECT max(y) FROM a)",
    "SELECT x FROM a WHERE y = (SELECT y FROM b WHERE id = 3)",
    "SELECT x, (SELECT y FROM b WHERE b.id = a.b_id) FROM a",
    "SELECT x FROM a WHERE EXISTS (SELECT 1 FROM b LIMIT 1)",
    "SELECT x FROM a WHERE y IN (SELECT y FROM b WHERE z = 1)",
    "SELECT rank() OVER (ORDER BY x) FROM a",
    "SELECT sum(y) OVER (ORDER BY x) FROM a",
    "SELECT strftime('%Y', d), date(d) FROM a",
    "SELECT 'now and then' FROM a",
    "WITH q AS (SELECT kind, count(*) AS n FROM a GROUP BY kind) SELECT kind FROM q WHERE n > 1",
    "SELECT DISTINCT name FROM a ORDER BY name",
]
FAULTY = [
    ("DELETE FROM a", "unreadable"),
    ("SELECT FROM WHERE", "unreadable"),
    ("SELECT 1; SELECT 2", "unreadable"),
    ("", "unreadable"),
    ("SELECT name, count(*) FROM a", "bare_column"),
    ("SELECT name, max(age) FROM a", "bare_column"),
    ("SELECT *, count(*) FROM a GROUP BY kind", "bare_column"),
    ("SELECT kind FROM a GROUP BY kind ORDER BY age", "bare_column"),
    ("SELECT T1.name FROM a AS T1 JOIN b AS T2 ON T1.id = T2.a_id GROUP BY T2.kind", "bare_column"),
    ("SELECT T1.name FROM a AS T1 LEFT JOIN b AS T2 ON T1.id = T2.a_id GROUP BY T2.a_id", "bare_column"),
    ("SELECT z, count(*) FROM pair GROUP BY y", "bare_column"),
    ("SELECT x FROM a WHERE id IN (SELECT id FROM b GROUP BY kind HAVING count(*) > 1)", "bare_column"),
    ("SELECT DISTINCT name FROM a ORDER BY age", "bare_column"),
    ("SELECT name, count(*) FROM unknown GROUP BY id", "bare_column"),
    ("SELECT x FROM a WHERE y IN (SELECT y FROM b LIMIT 2)", "inner_limit"),
    ("SELECT x FROM a WHERE y = (SELECT y FROM b ORDER BY z LIMIT 1)", "inner_limit"),
    ("WITH q AS (SELECT x FROM a LIMIT 3) SELECT x FROM q", "inner_limit"),
    ("SELECT x FROM a WHERE y = (SELECT y FROM b WHERE name = 'z')", "scalar_subquery"),
    ("SELECT CASE WHEN x > 1 THEN (SELECT y FROM b) END FROM a", "scalar_subquery"),
    ("SELECT row_number() OVER (ORDER BY x) FROM a", "window_order"),
    ("SELECT sum(y) OVER (ORDER BY x ROWS UNBOUNDED PRECEDING) FROM a", "window_order"),
    ("SELECT group_concat(x) FROM a", "aggregate_order"),
    ("SELECT json_group_array(x) FROM a", "aggregate_order"),
    ("SELECT x FROM a WHERE d > date('now')", "nondeterministic"),
    ("SELECT x FROM a WHERE d > datetime()", "nondeterministic"),
    ("SELECT strftime('%Y') FROM a", "nondeterministic"),
    ("SELECT CURRENT_TIMESTAMP FROM a", "nondeterministic"),
    ("SELECT x FROM a ORDER BY random()", "nondeterministic"),
]


@pytest.mark.parametrize("gold", SOUND)
def test_sound_golds_have_no_fault(gold: str) -> None:
    assert static_fault(gold, KEYS) is None


@pytest.mark.parametrize(("gold", "fault"), FAULTY)
def test_faults_are_named(gold: str, fault: str) -> None:
    assert static_fault(gold, KEYS) == fault


def test_keys_are_needed_to_allow_a_row_by_its_key() -> None:
    assert static_fault("SELECT name, count(*) FROM a GROUP BY id") == "bare_column"


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    path = tmp_path / "t.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE t(a INT, b INT, c TEXT); INSERT INTO t VALUES (1,5,'p'),(2,5,'q'),(3,4,'p'),(4,1,'p'),(4,1,'p')"
    )
    connection.close()
    return path


TIES = [
    ("SELECT a FROM t ORDER BY b DESC LIMIT 1", 1, True),
    ("SELECT b FROM t ORDER BY b DESC LIMIT 1", 1, False),
    ("SELECT a FROM t ORDER BY b DESC LIMIT 2", 1, False),
    ("SELECT a FROM t ORDER BY b LIMIT 1", 1, False),  # two rows tie, and they are the same
    ("SELECT a, b FROM t ORDER BY b DESC -- last\nLIMIT 1 -- one", 2, True),
    ("SELECT a FROM t ORDER BY b DESC /* LIMIT 9 */ LIMIT 1, 1;", 1, True),
    ("SELECT a FROM t LIMIT 2 OFFSET 1", 1, True),
    ("SELECT c, count(*) FROM t GROUP BY c ORDER BY count(*) DESC LIMIT 1", 2, False),
    ("SELECT a FROM t UNION SELECT b FROM t LIMIT 1", 1, True),
    ("SELECT a FROM (SELECT a, b FROM t ORDER BY b LIMIT 4) ORDER BY b DESC LIMIT 1", 1, False),
    ("SELECT 'LIMIT 1 ORDER BY' AS \"limit\", a FROM t ORDER BY b DESC, c limit 1", 2, False),
    ("WITH q AS (SELECT a, b FROM t ORDER BY a LIMIT 2) SELECT a FROM q ORDER BY b LIMIT 1", 1, True),
    ("SELECT a FROM t ORDER BY (SELECT max(b) FROM t LIMIT 1) LIMIT (SELECT 1)", 1, True),
]


@pytest.mark.parametrize(("gold", "width", "tied"), TIES)
def test_probes_find_ties_at_the_limit(marks: Path, gold: str, width: int, tied: bool) -> None:
    probes = tie_probes(gold, width)
    assert probes is not None
    assert all(len(read(marks, probe)) == len(read(marks, gold)) for probe in probes)
    assert (bag(marks, probes[0]) != bag(marks, probes[1])) is tied


@pytest.mark.parametrize(
    "gold",
    [
        "SELECT a FROM t",
        "SELECT a FROM t WHERE b IN (SELECT b FROM t LIMIT 1)",
        "SELECT 'LIMIT 1' FROM t -- LIMIT 2",
        "SELECT a FROM t LIMIT 1; SELECT 2",
        "SELECT (a FROM t LIMIT 1",
    ],
)
def test_no_probe_without_a_sure_outermost_limit(gold: str) -> None:
    assert tie_probes(gold, 1) is None


@pytest.mark.parametrize(
    ("gold", "open_"),
    [
        ("SELECT a FROM t ORDER BY b;", True),
        ("SELECT a, b FROM t ORDER BY b DESC, a -- end", False),
        ("SELECT b FROM t ORDER BY b", False),
        ("SELECT a FROM t WHERE b = 5 ORDER BY b LIMIT 2", True),
    ],
)
def test_probes_find_orders_that_are_left_open(marks: Path, gold: str, open_: bool) -> None:
    probes = order_probes(gold, len(read(marks, gold)[0]))
    assert probes is not None
    assert (read(marks, probes[0]) != read(marks, probes[1])) is open_
    assert order_probes("SELECT a FROM t", 1) is None
