-- file: statistics that lie
-- expect: ok
-- query: SELECT count(*) FROM t WHERE a = 1
CREATE TABLE t(a);
CREATE INDEX i ON t(a);
INSERT INTO t VALUES (1), (1), (2);
ANALYZE;
UPDATE sqlite_stat1 SET stat = '99999999999999999999999 -7 0 sz=0 noskipscan';

-- file: statistics that are no text
-- expect: ok damaged
-- query: SELECT count(*) FROM t WHERE a = 1
CREATE TABLE t(a);
CREATE INDEX i ON t(a);
INSERT INTO t VALUES (1), (1), (2);
ANALYZE;
UPDATE sqlite_stat1 SET stat = zeroblob(900000), idx = 'gone';

-- file: samples that lie
-- expect: ok damaged
-- query: SELECT count(*) FROM t WHERE a > 1
CREATE TABLE t(a);
CREATE INDEX i ON t(a);
INSERT INTO t VALUES (1), (1), (2);
ANALYZE;
CREATE TABLE samples(tbl, idx, neq, nlt, ndlt, sample);
INSERT INTO samples VALUES ('t', 'i', '1 1', '1 1', '1 1', x'ffffffffffffffffff'), ('t', 'i', 'x', NULL, 7, zeroblob(900000));
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET name = 'sqlite_stat4', tbl_name = 'sqlite_stat4', sql = 'CREATE TABLE sqlite_stat4(tbl, idx, neq, nlt, ndlt, sample)' WHERE name = 'samples';

-- file: sequence that is forged
-- expect: ok
-- query: SELECT count(*) FROM t
CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO t VALUES (1);
UPDATE sqlite_sequence SET name = zeroblob(1000), seq = 'x';

-- file: schema row cut off
-- expect: damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TABLE f(');

-- file: schema row that is a query
-- expect: damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'SELECT 1');

-- file: schema row that drops
-- expect: damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'DROP TABLE t');

-- file: schema row that attaches
-- expect: damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'ATTACH ''/tmp/sense_attack'' AS x');

-- file: schema row with something behind it
-- expect: ok empty damaged not_authorized
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TABLE f(a); DELETE FROM t');

-- file: schema row with a query in it
-- expect: damaged not_authorized
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TABLE f AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c');

-- file: schema row that creates in another schema
-- expect: damaged unknown_table ok
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TEMP TABLE f(a)');

-- file: schema row without text
-- expect: unknown_table damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, NULL);

-- file: schema row of a blob
-- expect: damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, zeroblob(100));

-- file: schema row under another name
-- expect: damaged unknown_table
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TABLE other(a)');

-- file: schema row of six million characters
-- expect: ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TABLE f(a /*' || hex(zeroblob(3000000)) || '*/)');

-- file: schema row with many brackets
-- expect: damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TABLE f(a DEFAULT ' || replace(hex(zeroblob(20000)), '00', '(') || ')');

-- file: schema row with a deep check
-- expect: damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 2, 'CREATE TABLE f(a CHECK (a' || replace(hex(zeroblob(3000)), '00', ' + 1') || '))');

-- file: names that are not UTF-8
-- expect: ok
-- query: SELECT a FROM good
CREATE TABLE good(a);
INSERT INTO good VALUES (1);
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT), tbl_name = CAST(x'ff' AS TEXT), sql = CAST(x'435245415445205441424c4520ff286129' AS TEXT) WHERE name = 't';

-- file: column names that are not UTF-8
-- expect: ok damaged decode_error
-- query: SELECT * FROM t
CREATE TABLE t(a);
INSERT INTO t VALUES (1);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = CAST(x'435245415445205441424c45207428ff29' AS TEXT);

-- file: names with everything in them
-- expect: ok
-- query: SELECT * FROM "a""b;'[]`😀--	/*"
CREATE TABLE "a""b;'[]`😀--	/*" ("", " ", "a.b");
INSERT INTO "a""b;'[]`😀--	/*" VALUES (1, 2, 3);

-- file: names that are SQL's own words
-- expect: ok
-- query: SELECT "select" FROM "table" AS "from" WHERE "where" IS NULL
CREATE TABLE "table" ("select", "where");
INSERT INTO "table" VALUES (1, NULL);

-- file: full text with its pages broken
-- expect: empty type_or_function_error damaged
-- query: SELECT * FROM f WHERE f MATCH 'hello'
CREATE VIRTUAL TABLE f USING fts5(a);
INSERT INTO f VALUES ('hello world');
UPDATE f_data SET block = x'ffffffffffffffffffffffffffffffff';

-- file: rtree with its nodes broken
-- expect: ok empty damaged row_limit
-- query: SELECT * FROM f WHERE a > 0
CREATE VIRTUAL TABLE f USING rtree(id, a, b);
INSERT INTO f VALUES (1, 2, 3);
UPDATE f_node SET data = x'0028ffff' || zeroblob(1000);

-- file: UTF-16, little end first
-- expect: ok
-- query: SELECT b FROM t WHERE b LIKE 'ROW%'
PRAGMA encoding = 'UTF-16le';
CREATE TABLE t(b);
INSERT INTO t VALUES ('row é 😀');

-- file: UTF-16, big end first
-- expect: ok
-- query: SELECT b FROM t WHERE b LIKE 'ROW%'
PRAGMA encoding = 'UTF-16be';
CREATE TABLE t(b);
INSERT INTO t VALUES ('row é 😀');

-- file: UTF-16 with half characters
-- expect: ok decode_error
-- query: SELECT * FROM t
PRAGMA encoding = 'UTF-16le';
CREATE TABLE t(a);
INSERT INTO t VALUES (CAST(x'00d8' AS TEXT)), (CAST(x'41' AS TEXT)), (CAST(x'00dc00d8' AS TEXT));
