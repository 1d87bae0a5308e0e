"""What test-suite databases keep of a database, on schemas of every odd kind."""

import re
import sqlite3
from pathlib import Path

import pytest

from services.sandbox.test_suites.generate import generate_suite
from tests.support.benchmarks import DATA, needs_data
from tests.unit.sandbox.test_suites.conftest import Rows, read

ODD = {
    "without_rowid": "CREATE TABLE t(a TEXT, b INT, c, PRIMARY KEY (a, b)) WITHOUT ROWID;"
    "INSERT INTO t VALUES ('x',1,2),('x',2,3),('y',1,NULL),('z',5,'t')",
    "generated": "CREATE TABLE t(a INT, b INT AS (a * 2) STORED, c AS (a + 1), d TEXT);"
    "INSERT INTO t(a, d) VALUES (1,'p'),(2,'q'),(9,'r'); CREATE UNIQUE INDEX i ON t(c)",
    "autoincrement": "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);"
    "INSERT INTO t(v) VALUES ('a'),('b'),('c')",
    "nocase": "CREATE TABLE t(name TEXT COLLATE NOCASE UNIQUE, n INT);"
    "CREATE TABLE c(name TEXT REFERENCES t(name)); INSERT INTO t VALUES ('Abc',1),('bcd',2),('CDE',3);"
    "INSERT INTO c VALUES ('ABC'),('BCD'),('abc'),('cde')",
    "self": "CREATE TABLE t(id INTEGER PRIMARY KEY, up INT REFERENCES t(id), v INT);"
    "INSERT INTO t VALUES (1,NULL,3),(2,1,4),(3,1,5),(4,3,5),(5,5,1)",
    "cycle": "CREATE TABLE a(id TEXT PRIMARY KEY, b TEXT NOT NULL REFERENCES b(id));"
    "CREATE TABLE b(id TEXT PRIMARY KEY, a TEXT REFERENCES a(id));"
    "INSERT INTO a VALUES ('k1','m1'),('k2','m2'),('k3','m1');"
    "INSERT INTO b VALUES ('m1','k1'),('m2','k3'),('m3','k2')",
    "composite": "CREATE TABLE p(a INT, b TEXT, PRIMARY KEY (a, b));"
    "CREATE TABLE c(x INT, y TEXT, z REAL, FOREIGN KEY (x, y) REFERENCES p);"
    "INSERT INTO p VALUES (1,'u'),(1,'v'),(2,'u');"
    "INSERT INTO c VALUES (1,'u',1.5),(1,'v',2.5),(2,'u',NULL),(1,NULL,3)",
    "keywords": 'CREATE TABLE "select"("from" INT, "group by" TEXT, "a""b" REAL, [where] TEXT, `ord;er` BLOB);'
    "INSERT INTO \"select\" VALUES (1,'x',1.5,'y',x'00ff'),(2,'z',2.5,NULL,x'01'),(3,'x',0.5,'w',NULL)",
    "checks": "CREATE TABLE t(a INT CHECK (a BETWEEN 1 AND 5), b TEXT CHECK (b IN ('on', 'off')), c TEXT NOT NULL);"
    "INSERT INTO t VALUES (1,'on','p'),(5,'off','q'),(3,'on','r'),(2,'off','s')",
    "strict": "CREATE TABLE t(a INTEGER, b TEXT, c ANY) STRICT;"
    "INSERT INTO t VALUES (1,'x',2.5),(2,'y','z'),(3,'w',x'00')",
    "partial": "CREATE TABLE t(a INT, b INT); CREATE UNIQUE INDEX i ON t(a) WHERE b > 0; CREATE INDEX e ON t(a + b);"
    "INSERT INTO t VALUES (1,1),(1,0),(1,-1),(2,5),(3,0)",
    "wide": f"CREATE TABLE t({', '.join(f'c{n} INT' for n in range(200))});"
    + ";".join(f"INSERT INTO t VALUES ({', '.join(str((n * k) % 7) for n in range(200))})" for k in (1, 2, 3)),
    "empty": "CREATE TABLE t(a INT UNIQUE); CREATE TABLE u(a INT REFERENCES t(a)); CREATE TABLE v(b TEXT);"
    "INSERT INTO v VALUES ('only')",
    "double_quoted": "CREATE TABLE t(a TEXT DEFAULT 'x', b INT); INSERT INTO t(b) VALUES (1),(2)",
    "text_keys": "CREATE TABLE p(id TEXT PRIMARY KEY); CREATE TABLE c(p_id INTEGER REFERENCES p(id));"
    "INSERT INTO p VALUES ('100'),('101'),('250'); INSERT INTO c VALUES (100),(101),(101)",
    "utf16": "PRAGMA encoding='UTF-16be'; CREATE TABLE t(a TEXT PRIMARY KEY, b INT);"
    "INSERT INTO t VALUES ('ä',1),('ß',2),('漢字',3)",
}
SCHEMA = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY rowid"


def write(path: Path, script: str) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


def tables(path: Path) -> list[str]:
    found = read(path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    return [str(name) for (name,) in found]


def classes(path: Path, table: str) -> list[set[object]]:
    names = [str(n) for (n,) in read(path, f"SELECT name FROM pragma_table_xinfo('{table}')")]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    return [{kind for (kind,) in read(path, f'SELECT typeof({name}) FROM "{table}"')} for name in quoted]


@pytest.mark.parametrize("name", sorted(ODD))
def test_odd_schemas(tmp_path: Path, name: str) -> None:
    original = write(tmp_path / "o.sqlite", ODD[name])
    made = generate_suite(original, tmp_path / "n", count=8, seed=5, constants=["x", 3, 2.5])
    assert len({path.read_bytes() for path in made}) > 1
    for path in made:
        assert read(path, SCHEMA) == read(original, SCHEMA)
        assert read(path, "PRAGMA integrity_check") == [("ok",)]
        assert read(path, "PRAGMA foreign_key_check") == []
        for table in tables(original):
            filled = read(original, f'SELECT count(*) > 0 FROM "{table}"')
            assert read(path, f'SELECT count(*) > 0 FROM "{table}"') == filled
            for seen, known in zip(classes(path, table), classes(original, table), strict=True):
                assert seen <= known


def made_from(tmp_path: Path, script: str, *constants: str | int | float) -> list[Path]:
    return generate_suite(write(tmp_path / "o.sqlite", script), tmp_path / "n", count=8, seed=2, constants=constants)


def cells(paths: list[Path], sql: str) -> Rows:
    return [row for path in paths for row in read(path, sql)]


def test_storage_classes_and_formats_stay(tmp_path: Path) -> None:
    rows = ", ".join(
        f"('2020-01-{n:02}', '{n:02}:30', 19{n}, '00{n}', 'AB-{n}', {n}.25, {'NULL' if n % 3 else n}, 'x{n}')"
        for n in range(10, 40)
        if n < 29
    )
    made = made_from(
        tmp_path, f"CREATE TABLE t(day, at, year INT, digits TEXT, code, price REAL, hole, mixed INTEGER);"
        f"INSERT INTO t VALUES {rows}", "ZZ", "2020", 5, "AB-1", "x",
    )  # fmt: skip
    forms = [
        r"\d{4}-(0[1-9]|1[0-2])-\d\d",
        r"\d\d:\d\d",
        r"\d{3,5}",
        r"\d{4}",
        r"AB-\d\d",
        r"\d+\.\d{1,2}",
        r"\d+|None",
    ]
    for row in cells(made, "SELECT day, at, year, digits, code, price, hole FROM t"):
        for cell, form in zip(row, forms, strict=True):
            assert re.fullmatch(form, str(cell)), (cell, form)
    assert {kind for (kind,) in cells(made, "SELECT typeof(mixed) FROM t")} == {"text"}
    assert cells(made, "SELECT 1 FROM t WHERE year IS NULL OR code IS NULL") == []
    assert cells(made, "SELECT 1 FROM t WHERE hole IS NULL") != []
    days = cells(made, "SELECT day FROM t WHERE date(day) IS NOT day")
    assert days == []


def test_functional_dependencies_stay(tmp_path: Path) -> None:
    towns = [("Oslo", "NO", 47), ("Bergen", "NO", 47), ("Rome", "IT", 39), ("Pisa", "IT", 39), ("Lyon", "FR", 33)]
    rows = ", ".join(f"({n}, '{t}', '{c}', {d}, {n % 11})" for n in range(60) for t, c, d in [towns[n % 5]])
    made = made_from(
        tmp_path,
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, town, land, dial INT, other INT); INSERT INTO t VALUES {rows}",
    )
    for path in made:
        for a, b in (("town", "land"), ("land", "dial"), ("dial", "land"), ("town", "dial")):
            assert read(path, f"SELECT {a} FROM t GROUP BY {a} HAVING count(DISTINCT {b}) > 1") == []
    assert cells(made, "SELECT town FROM t GROUP BY town HAVING count(DISTINCT other) > 1") != []
    assert len({tuple(read(path, "SELECT DISTINCT town, land FROM t ORDER BY 1")) for path in made}) > 1


def test_names_that_never_repeat_in_many_rows_stay_unique(tmp_path: Path) -> None:
    rows = ", ".join(f"({n}, 'Name {n}', {n * n}, 'Few {n % 90}')" for n in range(120))
    made = made_from(
        tmp_path, f"CREATE TABLE t(id INTEGER PRIMARY KEY, name, size INT, few); INSERT INTO t VALUES {rows}"
    )
    for path in made:
        assert read(path, "SELECT name FROM t GROUP BY name HAVING count(*) > 1") == []
    assert cells(made, "SELECT size FROM t GROUP BY size HAVING count(*) > 1") != []


def test_a_constant_in_another_case_is_not_put_in(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE t(name TEXT, town TEXT); INSERT INTO t VALUES ('Ada', 'Oslo'), ('Bob', 'Rome'), ('Cyd', 'Pisa')"
    )
    made = made_from(tmp_path, script, "oslo", "Zoe")
    assert cells(made, "SELECT 1 FROM t WHERE town = 'oslo' OR name = 'oslo'") == []
    assert cells(made, "SELECT 1 FROM t WHERE name = 'Zoe'") != []


def test_what_the_original_breaks_is_not_demanded(tmp_path: Path) -> None:
    made = made_from(
        tmp_path,
        "CREATE TABLE p(id INT, v INT); CREATE TABLE c(p_id INT REFERENCES p(id), gone INT REFERENCES absent(x),"
        "k INT REFERENCES q(id)); CREATE TABLE q(id INTEGER PRIMARY KEY);"
        "INSERT INTO p VALUES (1,1),(1,2); INSERT INTO q VALUES (1),(2); INSERT INTO c VALUES (1,5,1),(1,6,77),(1,7,2)",
    )
    assert all(read(path, "SELECT count(*) > 0 FROM c") == [(1,)] for path in made)
    assert cells(made, "SELECT 1 FROM c WHERE p_id NOT IN (SELECT id FROM p)") == []


def test_undeclared_foreign_keys_hold(tmp_path: Path) -> None:
    made = made_from(
        tmp_path,
        "CREATE TABLE shop(shop_id INTEGER PRIMARY KEY, v INT); CREATE TABLE sale(shop_id INT, n INT);"
        "INSERT INTO shop VALUES (10,1),(20,2),(30,3),(40,4);"
        "INSERT INTO sale VALUES (10,1),(20,1),(20,2),(30,3),(10,7)",
    )
    assert cells(made, "SELECT 1 FROM sale WHERE shop_id NOT IN (SELECT shop_id FROM shop)") == []
    assert cells(made, "SELECT 1 FROM shop WHERE shop_id NOT IN (SELECT shop_id FROM sale)") != []


def test_text_that_is_not_utf8_is_copied(tmp_path: Path) -> None:
    made = made_from(
        tmp_path,
        "CREATE TABLE p(k TEXT PRIMARY KEY); CREATE TABLE t(a TEXT, b INT REFERENCES p(k));"
        "INSERT INTO p VALUES (CAST(x'ff41' AS TEXT)), ('fine'), ('good');"
        "INSERT INTO t VALUES (CAST(x'fe42' AS TEXT), CAST(x'ff41' AS TEXT)), ('plain', 'fine'), ('other', 'good')",
    )
    found = {value for (value,) in cells(made, "SELECT hex(a) FROM t WHERE a NOT BETWEEN 'a' AND 'z'")}
    assert found == {"FE42"}
    assert {kind for (kind,) in cells(made, "SELECT typeof(k) FROM p")} == {"text"}
    assert cells(made, "SELECT 1 FROM t WHERE b NOT IN (SELECT k FROM p)") == []


def test_large_values_views_triggers_and_virtual_tables_are_left_out(tmp_path: Path) -> None:
    made = made_from(
        tmp_path,
        "CREATE TABLE t(a INT, big BLOB); INSERT INTO t VALUES (1, zeroblob(3000000)), (2, x'01'), (3, x'02');"
        "CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END;"
        "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('words')",
    )
    assert {name for path in made for (name,) in read(path, "SELECT name FROM sqlite_master")} == {"t"}
    assert cells(made, "SELECT 1 FROM t WHERE length(big) > 10") == []


@needs_data
@pytest.mark.parametrize("name", ["pets_1", "student_assessment", "cre_Drama_Workshop_Groups", "world_1"])
def test_real_databases(tmp_path: Path, name: str) -> None:
    original = DATA / "spider" / "database" / name / f"{name}.sqlite"
    known = {row[:1] + row[2:] for row in read(original, "PRAGMA foreign_key_check")}
    for path in generate_suite(original, tmp_path / "n", count=2, seed=1):
        assert read(path, "PRAGMA integrity_check") == [("ok",)]
        assert {row[:1] + row[2:] for row in read(path, "PRAGMA foreign_key_check")} <= known
