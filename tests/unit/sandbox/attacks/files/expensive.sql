-- file: endless view
-- expect: timeout
-- query: SELECT * FROM v
CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c;

-- file: view that stalls in one step
-- expect: timeout
-- query: SELECT * FROM v
CREATE VIEW v AS SELECT instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1');

-- file: views doubled six times
-- expect: timeout syntax_error memory_limit
-- query: SELECT count(*) FROM v5
CREATE TABLE t(x);
INSERT INTO t VALUES (1), (2);
CREATE VIEW v0 AS SELECT x FROM t;
CREATE VIEW v1 AS SELECT p.x FROM v0 p, v0 q;
CREATE VIEW v2 AS SELECT p.x FROM v1 p, v1 q;
CREATE VIEW v3 AS SELECT p.x FROM v2 p, v2 q;
CREATE VIEW v4 AS SELECT p.x FROM v3 p, v3 q;
CREATE VIEW v5 AS SELECT p.x FROM v4 p, v4 q;

-- file: views doubled forty times
-- expect: timeout syntax_error memory_limit
-- query: SELECT count(*) FROM v40
CREATE TABLE t(x);
INSERT INTO t VALUES (1), (2);
CREATE VIEW v0 AS SELECT x FROM t;
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40)
  SELECT 'view', 'v' || i, 'v' || i, 0, format('CREATE VIEW v%d AS SELECT p.x FROM v%d p JOIN v%d q', i, i - 1, i - 1) FROM n;

-- file: views in a chain of two thousand
-- expect: timeout syntax_error memory_limit ok
-- query: SELECT count(*) FROM v2000
CREATE TABLE t(x);
CREATE VIEW v0 AS SELECT x FROM t;
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)
  SELECT 'view', 'v' || i, 'v' || i, 0, format('CREATE VIEW v%d AS SELECT x + 1 AS x FROM v%d', i, i - 1) FROM n;

-- file: generated column that stalls
-- expect: timeout
-- query: SELECT g FROM t
CREATE TABLE t(a, g AS (a));
INSERT INTO t(a) VALUES (1), (2);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = 'CREATE TABLE t(a, g AS (instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || a)))';

-- file: generated column that stalls, in a filter
-- expect: timeout
-- query: SELECT a FROM t WHERE g = 0
CREATE TABLE t(a, g AS (a));
INSERT INTO t(a) VALUES (1), (2);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = 'CREATE TABLE t(a, g AS (instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || a)))';

-- file: generated column that stalls, not asked for
-- expect: ok
-- query: SELECT a FROM t
CREATE TABLE t(a, g AS (a));
INSERT INTO t(a) VALUES (1), (2);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = 'CREATE TABLE t(a, g AS (instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || a)))';

-- file: generated columns that double a text
-- expect: byte_limit timeout
-- query: SELECT j FROM t
CREATE TABLE t(a, b AS (a || a || a || a), c AS (b || b || b || b), d AS (c || c || c || c), e AS (d || d || d || d),
  f AS (e || e || e || e), g AS (f || f || f || f), h AS (g || g || g || g), i AS (h || h || h || h), j AS (i || i || i || i));
INSERT INTO t(a) VALUES ('');
UPDATE t SET a = 'xxxxxxxx' WHERE 0;
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = replace(sql, '(a || a', '(hex(zeroblob(10)) || a');

-- file: index over an expression that stalls
-- expect: empty
-- query: SELECT a FROM t WHERE a < 0
CREATE TABLE t(a);
INSERT INTO t VALUES (1);
CREATE INDEX slow ON t(instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || a)) WHERE a < 0;

-- file: partial index with an expression that stalls
-- expect: empty timeout
-- query: SELECT a FROM t WHERE a > 1 AND instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1') = 7
CREATE TABLE t(a);
CREATE INDEX slow ON t(a) WHERE a > 1 AND instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1') = 7;
INSERT INTO t VALUES (0);

-- file: check and default that stall
-- expect: ok
-- query: SELECT * FROM t
CREATE TABLE t(a DEFAULT (instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1')), CHECK (a < 0 OR instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1') = 0));
INSERT INTO t VALUES (-1);

-- file: full text over an endless view
-- expect: timeout not_authorized unknown_column
-- query: SELECT * FROM f
CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c;
CREATE VIRTUAL TABLE f USING fts5(n, content='v', content_rowid='n');

-- file: ten thousand tables
-- expect: ok timeout
-- query: SELECT count(*) FROM t9999
CREATE TABLE t(a, b);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000)
  SELECT 'table', 't' || i, 't' || i, 2, 'CREATE TABLE t' || i || '(a, b)' FROM n;

-- file: two thousand columns
-- expect: ok
-- query: SELECT * FROM t
CREATE TABLE t(a);
INSERT INTO t VALUES (1);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1998)
  SELECT 'CREATE TABLE t(a, ' || group_concat('c' || i, ', ') || ')' FROM n);

-- file: two thousand columns, joined
-- expect: syntax_error
-- query: SELECT * FROM t x, t y
CREATE TABLE t(a);
INSERT INTO t VALUES (1);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1998)
  SELECT 'CREATE TABLE t(a, ' || group_concat('c' || i, ', ') || ')' FROM n);
